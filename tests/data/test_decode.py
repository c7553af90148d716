"""Decoding in this process and in many: the same pixels in the same order; a crash costs one image."""

from pathlib import Path

import numpy as np
import pytest

from effmed.data import decode as module
from effmed.data.contents import content_of
from effmed.data.decode import Source, decode, read_images, read_preprocessed
from effmed.data.pixels import Preprocessing, read_image
from effmed.data.pixels.signature import make_signature
from effmed.data.processes import PENDING_PER_WORKER
from effmed.data.scan.medmnist import read_npz_manifest
from effmed.errors import DataError, RecipeError
from tests import make
from tests.data.deadly import DeadlyPath

SPEC = Preprocessing(height=8, width=8, channels=1, depth="uint8", window="stored", max_megapixels=1.0)


def sources(folder, names):
    for k, name in enumerate(names):
        if not name.startswith("deadly"):
            make.png(folder / name, seed=k)
    return [Source(DeadlyPath(folder / name), 0) for name in names]


def test_images_come_in_the_order_of_their_sources(tmp_path):
    pixels = [make.png(tmp_path / f"{k}.png", size=(8, 8), seed=k) for k in range(4)]
    found = list(decode([Source(tmp_path / f"{k}.png", 0) for k in (2, 0, 3, 1)], SPEC))
    assert all(np.array_equal(image.pixels, pixels[k]) for image, k in zip(found, (2, 0, 3, 1), strict=True))


def test_a_file_that_cannot_be_read_is_a_reason_in_its_place(tmp_path):
    make.png(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    found = list(decode([Source(tmp_path / "half.png", 0), Source(tmp_path / "whole.png", 0)], SPEC))
    assert [isinstance(image, DataError) for image in found] == [True, False]


def test_a_reason_keeps_its_hint_on_the_way_between_processes(tmp_path):
    (tmp_path / "no.png").write_text("text")
    (found,) = decode([Source(tmp_path / "no.png", 0)], SPEC, workers=2)
    assert "DICOM, PNG" in found.hint


def test_no_source_is_no_image():
    assert list(decode([], SPEC, workers=2)) == []


def test_processes_give_the_same_pixels_in_the_same_order(tmp_path):
    many = sources(tmp_path, [f"{k}.png" for k in range(2 * PENDING_PER_WORKER + 5)])
    alone, together = list(decode(many, SPEC)), list(decode(many, SPEC, workers=2))
    assert len(alone) == len(together)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(alone, together, strict=True))


def test_a_crash_costs_the_image_that_caused_it_and_no_other(tmp_path):
    names = [f"{k}.png" for k in range(2 * PENDING_PER_WORKER + 2)]
    names[1] = "deadly.png"
    many = sources(tmp_path, names)
    found = list(decode(many, SPEC, workers=2))
    others = list(decode([source for source in many if source.path.name != "deadly.png"], SPEC))
    assert found.pop(1).problem == "the decoder crashes on it, or never ends"
    assert all(np.array_equal(image.pixels, other.pixels) for image, other in zip(found, others, strict=True))


def test_a_wrong_recipe_stops_everything_instead_of_blaming_the_file(tmp_path):
    make.dicom(tmp_path / "a.dcm")
    wrong = SPEC.model_copy(update={"window": "wide"})
    with pytest.raises(RecipeError, match="wide"):
        list(decode([Source(tmp_path / "a.dcm", 0)], wrong))


def test_no_more_images_are_taken_ahead_than_fit_in_memory(tmp_path):
    make.png(tmp_path / "a.png")
    taken = []

    def counted():
        for k in range(10 * PENDING_PER_WORKER):
            taken.append(k)
            yield Source(tmp_path / "a.png", 0)

    images = decode(counted(), SPEC, workers=2)
    next(images)
    n_taken = len(taken)
    images.close()
    assert n_taken == 2 * PENDING_PER_WORKER


def test_a_recipe_that_asks_for_reduced_decoding_gets_it(tmp_path, monkeypatch):
    make.png(tmp_path / "a.png")
    asked = []
    read = module.read_image
    monkeypatch.setattr(module, "read_image", lambda *a, enough, **k: asked.append(enough) or read(*a, **k))
    for wanted in (False, True):
        list(decode([Source(tmp_path / "a.png", 0)], SPEC.model_copy(update={"reduced_decode": wanted})))
    assert asked == [None, (8, 8)]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_is_identified_where_that_is_wanted(tmp_path, workers):
    make.png(tmp_path / "a.png")
    (plain,) = decode([Source(tmp_path / "a.png", 0)], SPEC, workers=workers)
    (known,) = decode([Source(tmp_path / "a.png", 0)], SPEC, workers=workers, identify=True)
    image = read_image(tmp_path / "a.png", 0, window="stored", max_megapixels=1.0)
    assert plain.identity is None
    assert known.identity.content == content_of(tmp_path / "a.png")
    assert known.identity.signature.pixel_hash == make_signature(image).pixel_hash
    made = image.provenance
    assert (known.identity.window, known.identity.window_origin, known.identity.table) == (
        made.window,
        made.window_origin,
        made.table,
    )


def test_a_file_that_vanishes_between_pixels_and_hash_is_a_reason(tmp_path, monkeypatch):
    make.png(tmp_path / "a.png")

    def vanished(path):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(module, "content_of", vanished)
    (found,) = decode([Source(tmp_path / "a.png", 0)], SPEC, identify=True)
    assert found.problem == "cannot be read: No such file or directory"


def test_the_rows_are_counted_from_the_first_of_the_manifest(tmp_path):
    for k in range(4):
        make.png(tmp_path / f"{k}.png")
    manifest = make.manifest(labels=["a"] * 4, root=tmp_path)
    assert [row for row, _ in read_preprocessed(manifest.with_frame(manifest.frame.iloc[2:]), SPEC)] == [0, 1]


def test_a_process_that_dies_costs_its_image_and_not_the_run(tmp_path):
    for k in range(2):
        make.png(tmp_path / f"{k}.png")
    manifest = make.manifest(labels=["a", "b", "a"], root=DeadlyPath(tmp_path))
    manifest = manifest.with_frame(manifest.frame.assign(image=["0.png", "deadly.png", "1.png"]))
    found = [image for _, image in read_preprocessed(manifest, SPEC, workers=2)]
    assert [isinstance(image, DataError) for image in found] == [False, True, False]


def test_images_are_read_at_their_own_size(tmp_path):
    pixels = make.png(tmp_path / "0.png", size=(5, 7))
    ((_, image),) = read_images(make.manifest(labels=["a"], root=tmp_path), window="stored", max_megapixels=1.0)
    assert np.array_equal(image.pixels, pixels)


def test_an_image_that_cannot_be_read_is_its_reason(tmp_path):
    found = list(read_images(make.manifest(labels=["a"], root=Path("nowhere")), window="stored", max_megapixels=1.0))
    assert isinstance(found[0][1], DataError)


def test_images_of_a_medmnist_file_are_read_from_it(tmp_path):
    arrays = make.npz(tmp_path / "data.npz")
    found = read_images(read_npz_manifest(tmp_path / "data.npz"), window="stored", max_megapixels=1.0)
    assert np.array_equal(next(found)[1].pixels, arrays["train_images"][0])
