"""The fingerprint: counts that add up, grey levels as they are, and nobody's name."""

import numpy as np
import pandas as pd
import pytest

from effmed.data.fingerprint import Fingerprint, known_labels, make_fingerprint, median_shape, padded_fraction
from effmed.data.pixels import Image, Preprocessing, preprocess
from effmed.data.pixels.image import Provenance
from effmed.data.records import Unreadable
from effmed.data.scan.medmnist import read_npz_manifest
from effmed.errors import RecipeError
from effmed.recipe import DataSettings
from tests import make

SETTINGS = DataSettings()


def divided():
    manifest = make.manifest(
        labels=["a", "b", "a", "a", "b"],
        patients=["p", "p", "q", "r", "s"],
        splits=["train", "train", "train", "val", "test"],
    )
    study = ["1", "1", "2", None, None]
    columns = {"rows": [10, 20, 30, 40, 50], "columns": [5, 5, 5, 5, 6], "bits": [8, 8, 12, 12, 16], "study": study}
    return manifest.with_frame(
        manifest.frame.assign(
            **columns,
            colour=[True, False, False, False, False],
            view=["PA", "PA", "AP", None, None],
            modality="DX",
            photometric="MONOCHROME2",
            syntax="1.2",
        )
    )


def test_images_patients_and_studies_are_counted():
    found = make_fingerprint(divided(), SETTINGS)
    assert (found.n_images, found.n_patients, found.n_studies) == (5, 4, 2)


def test_unknown_patients_are_none_and_not_zero():
    manifest = divided()
    nobody = manifest.with_frame(manifest.frame.assign(patient=pd.array([pd.NA] * 5, dtype="string")))
    assert make_fingerprint(nobody, SETTINGS).n_patients is None


def test_images_per_class_are_in_the_order_of_the_classes():
    found = make_fingerprint(divided(), SETTINGS)
    assert list(found.images_per_class.items()) == [("a", 3), ("b", 2)]


def test_images_per_class_of_train_leave_the_other_splits_out():
    assert make_fingerprint(divided(), SETTINGS).train_images_per_class == {"a": 2, "b": 1}


def test_before_the_division_all_images_count_as_train():
    found = make_fingerprint(make.manifest(labels=["a", "b", "b"]), SETTINGS)
    assert found.train_images_per_class == {"a": 1, "b": 2}


def test_every_split_has_its_images_and_patients():
    found = make_fingerprint(divided(), SETTINGS)
    assert found.images_per_split == {"train": 3, "val": 1, "test": 1}
    assert found.patients_per_split == {"train": 2, "val": 1, "test": 1}


def test_patients_in_two_splits_are_counted():
    manifest = make.manifest(labels=["a", "b"], patients=["p", "p"], splits=["train", "test"])
    assert make_fingerprint(manifest, SETTINGS).shared_patients == 1


def test_sizes_are_smallest_median_and_largest():
    found = make_fingerprint(divided(), SETTINGS)
    assert (found.height_px, found.width_px) == ((10, 30, 50), (5, 5, 6))


def test_shapes_are_counted_of_training_images_alone():
    assert make_fingerprint(divided(), SETTINGS).shapes == {"2": 1, "4": 1, "6": 1}
    before = make.manifest(labels=["a", "b"])
    before = before.with_frame(before.frame.assign(rows=[100, 300], columns=[300, 100]))
    assert make_fingerprint(before, SETTINGS).shapes == {"0.333": 1, "3": 1}


@pytest.mark.parametrize(("spacing", "aspect"), [([2, 1], 2.0), ([1, 4], 0.25), ([1, 1], 1.0)])
def test_the_shape_of_pixels_makes_the_shape_of_pictures(tmp_path, spacing, aspect):
    make.dicom(tmp_path / "0.png", PixelSpacing=spacing)
    manifest = make.manifest(labels=["a"], root=tmp_path)
    found = make_fingerprint(manifest.with_frame(manifest.frame.assign(rows=12, columns=16)), SETTINGS)
    assert found.pixel_aspect == aspect
    assert [float(shape) for shape in found.shapes] == pytest.approx([0.75 * aspect], rel=0.005)


@pytest.mark.parametrize("box", [(256, 256), (320, 128), (96, 224)])
def test_the_padded_share_is_that_of_the_letterbox(box):
    chance = np.random.default_rng(0)
    sizes = [*map(tuple, chance.integers(40, 900, (12, 2))), (300, 100), (300, 100), (256, 256)]
    spec = Preprocessing(height=box[0], width=box[1], channels=1, depth="uint8", window="stored", max_megapixels=10.0)
    made = Provenance("png", "png", "L", 8, "full", "full", "")
    black = [float((preprocess(Image(np.full(size, 255, np.uint8), 1.0, made), spec) == 0).mean()) for size in sizes]
    shapes = pd.Series([f"{height / width:.3g}" for height, width in sizes]).value_counts().to_dict()
    assert padded_fraction(shapes, box) == pytest.approx(np.mean(black), abs=0.004)


def test_the_padded_share_has_no_error_of_rounding():
    assert padded_fraction({"0.7": 7}, (224, 224)) == padded_fraction({"0.7": 3}, (160, 160)) == 0.3
    assert padded_fraction({"1": 9}, (224, 224)) == 0.0


def test_the_median_shape_weighs_shapes_by_their_images():
    counts = {"0.5": 9, "3": 2, "1.25": 4}
    values = [0.5] * 9 + [3.0] * 2 + [1.25] * 4
    assert median_shape(counts) == np.median(values) == 0.5


def test_bits_and_attributes_are_counted_by_value():
    found = make_fingerprint(divided(), SETTINGS)
    assert (found.bits, found.view, found.modality) == ({"8": 2, "12": 2, "16": 1}, {"PA": 2, "AP": 1}, {"DX": 5})


def test_the_share_of_colour_images_is_told():
    assert make_fingerprint(divided(), SETTINGS).colour_fraction == 0.2


def test_unreadable_files_are_counted():
    manifest = divided()
    damaged = type(manifest)(
        manifest.root, manifest.frame, manifest.classes, (Unreadable("x.png", 0, "damaged", "copy it"),)
    )
    assert make_fingerprint(damaged, SETTINGS).unreadable == 1


def test_grey_levels_are_shares_of_the_full_range(tmp_path):
    make.png(tmp_path / "0.png", size=(300, 300), bits=16)
    found = make_fingerprint(make.manifest(labels=["a"], root=tmp_path), SETTINGS).intensity_percentiles
    assert list(found) == ["p1", "p25", "p50", "p75", "p99"]
    np.testing.assert_allclose(list(found.values()), [0.01, 0.25, 0.5, 0.75, 0.99], atol=0.05)


def test_grey_levels_come_from_a_medmnist_file_too(tmp_path):
    make.npz(tmp_path / "data.npz", size=(28, 28))
    found = make_fingerprint(read_npz_manifest(tmp_path / "data.npz"), SETTINGS)
    assert 0.4 < found.intensity_percentiles["p50"] < 0.6


def test_images_that_cannot_be_decoded_leave_no_grey_levels():
    assert make_fingerprint(divided(), SETTINGS).intensity_percentiles == {}


def test_a_manifest_without_images_has_a_fingerprint():
    manifest = make.manifest(labels=[])
    found = make_fingerprint(manifest, SETTINGS)
    assert (found.n_images, found.height_px, found.intensity_percentiles) == (0, (0, 0, 0), {})


def test_a_window_that_is_none_is_the_recipes_fault(tmp_path):
    make.dicom(tmp_path / "0.png")
    with pytest.raises(RecipeError, match="wide"):
        make_fingerprint(make.manifest(labels=["a"], root=tmp_path), DataSettings(window="wide"))


def test_no_path_and_no_patient_is_in_it():
    manifest = make.manifest(labels=["a", "b"], patients=["DOE^JANE", "ROE^JIM"])
    text = make_fingerprint(manifest, SETTINGS).model_dump_json()
    assert "DOE" not in text
    assert ".png" not in text


def test_it_comes_back_from_json_as_it_was():
    found = make_fingerprint(divided(), SETTINGS)
    assert Fingerprint.model_validate_json(found.model_dump_json()) == found


def test_the_digest_is_the_manifests():
    assert make_fingerprint(divided(), SETTINGS).manifest_digest == divided().digest()


def test_every_kind_of_each_label_is_counted_by_split():
    made = make.several({"a": ["1", "0", "-1", None], "b": ["1"] * 4}, splits=["train", "train", "val", "test"])
    counts = make_fingerprint(made, SETTINGS).label_counts
    assert counts["all"]["a"] == {"present": 1, "absent": 1, "uncertain": 1, "blank": 1}
    assert counts["val"]["a"] == {"present": 0, "absent": 0, "uncertain": 1, "blank": 0}
    assert make_fingerprint(divided(), SETTINGS).label_counts == {}


@pytest.mark.parametrize(
    ("uncertain", "blank", "expected"),
    [("ignore", "ignore", (20, 10)), ("zeros", "ignore", (25, 10)), ("ones", "zeros", (27, 15))],
)
def test_what_is_known_of_a_label_depends_on_the_policies(uncertain, blank, expected):
    counts = {"a": {"present": 10, "absent": 20, "uncertain": 5, "blank": 7}}
    assert known_labels({"train": counts, "val": counts}, uncertain, blank) == {"a": expected}
