"""Decoding in this process and in many: the same pixels in the same order; a crash costs one image."""

import numpy as np
import pytest

from effmed.data import decode as module
from effmed.data.decode import Source, decode
from effmed.data.pixels import Preprocessing
from effmed.data.processes import PENDING_PER_WORKER
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
    assert all(np.array_equal(image, pixels[k]) for image, k in zip(found, (2, 0, 3, 1), strict=True))


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
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_crash_costs_the_image_that_caused_it_and_no_other(tmp_path):
    names = [f"{k}.png" for k in range(2 * PENDING_PER_WORKER + 2)]
    names[1] = "deadly.png"
    many = sources(tmp_path, names)
    found = list(decode(many, SPEC, workers=2))
    others = list(decode([source for source in many if source.path.name != "deadly.png"], SPEC))
    assert found.pop(1).problem == "the decoder crashes on it, or never ends"
    assert all(np.array_equal(image, other) for image, other in zip(found, others, strict=True))


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
