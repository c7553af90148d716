"""From a folder to a manifest: what is found, what is left out, and what stops it."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effmed.data.records import Unreadable
from effmed.data.scan import check_unreadable, scan
from effmed.errors import DataError, RecipeError
from effmed.recipe import DataSettings
from tests import make

BY_NAME = {"patient_pattern": r"(p\d+)_"}


def refusal(*arguments, kind=DataError, labelled=True, **settings):
    with pytest.raises(kind) as caught:
        found(*arguments, labelled=labelled, **settings)
    return caught.value


def found(data, labels=None, *, labelled=True, keep_ids=True, **settings):
    return scan(data, labels, DataSettings(keep_ids=keep_ids, **settings), labelled=labelled)


def rows(manifest, *columns):
    frame = manifest.frame[list(columns)].astype(object)
    return frame.where(frame.notna(), None).to_numpy().tolist()


def two_labelled(root, *names, **columns):
    """Two readable images and a table that names them."""
    names = names or ("a.png", "b.png")
    for seed, name in enumerate(names):
        make.png(root / name, seed=seed)
    columns = {"path": names, "label": ["x", "y"], "patient_id": ["1", "2"]} | columns
    return make.table(root / "labels.csv", **columns)


# ---------------------------------------------------------------- folders


def test_folders_name_the_classes(tmp_path):
    make.class_folders(tmp_path, patients=2)
    manifest = found(tmp_path, **BY_NAME)
    assert rows(manifest, "image", "label", "patient", "split") == [
        ["normal/p0_0.png", "normal", "p0", None],
        ["normal/p1_0.png", "normal", "p1", None],
        ["sick/p2_0.png", "sick", "p2", None],
        ["sick/p3_0.png", "sick", "p3", None],
    ]
    assert manifest.classes == ("normal", "sick")
    assert manifest.reasons["labels"] == "labels from the first folder of each path"


def test_folders_below_a_class_folder_belong_to_the_class(tmp_path):
    make.png(tmp_path / "normal" / "p1" / "study" / "1.png")
    make.png(tmp_path / "sick" / "p2" / "1.png")
    assert rows(found(tmp_path, patient_pattern="/(p[0-9])/"), "label", "patient") == [["normal", "p1"], ["sick", "p2"]]


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "testing")])
def test_folders_called_train_val_and_test_are_the_splits(tmp_path, names):
    for number, name in enumerate(names):
        make.png(tmp_path / name / "normal" / f"p{number}_0.png")
        make.png(tmp_path / name / "sick" / f"p{number + 3}_0.png")
    manifest = found(tmp_path, **BY_NAME)
    assert sorted(rows(manifest, "split", "label")) == [
        [split, label] for split in ("test", "train", "val") for label in ("normal", "sick")
    ]
    assert "inside train, val and test" in manifest.reasons["labels"]


def test_class_folders_beside_split_folders_are_refused(tmp_path):
    make.class_folders(tmp_path, patients=1, prefix="train")
    make.png(tmp_path / "extra" / "p9_0.png")
    error = refusal(tmp_path, **BY_NAME)
    assert "holds the folders train, but 1 images lie beside: extra/p9_0.png" in error.problem
    assert "--labels" in error.hint


def test_images_outside_class_folders_are_refused(tmp_path):
    make.class_folders(tmp_path, patients=1)
    make.png(tmp_path / "p9_0.png")
    error = refusal(tmp_path, **BY_NAME)
    assert "1 images have no label: p9_0.png" in error.problem
    assert "one folder per class, or give --labels" in error.hint


def test_one_class_only_is_refused(tmp_path):
    make.class_folders(tmp_path, classes=("sick",), patients=3)
    error = refusal(tmp_path, **BY_NAME)
    assert error.problem == f"only one class below {tmp_path}: sick"
    assert "at least two classes" in error.hint


def test_an_empty_folder_is_refused(tmp_path):
    error = refusal(tmp_path)
    assert error.problem == f"no image below {tmp_path}"
    assert "DICOM, PNG" in error.hint


def test_a_folder_without_images_is_refused_with_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert refusal(tmp_path).problem == f"no image below {tmp_path} (1 other files)"


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    error = refusal(tmp_path / "none")
    assert error.problem == f"{tmp_path / 'none'} is not a folder"
    assert ".npz" in error.hint


# ---------------------------------------------------------------- label tables


def test_a_table_gives_label_patient_study_split_and_attributes(tmp_path):
    extra = {"study": ["s1", "s2"], "split": ["Train", "valid"], "view": ["PA", "AP"], "Gender": ["F", "M"]}
    labels = two_labelled(tmp_path, **extra, age=[61, 34.5], hospital=["H1", "H2"])
    manifest = found(tmp_path, labels)
    assert rows(manifest, "label", "patient", "study", "split", "view", "sex", "age", "site") == [
        ["x", "1", "s1", "train", "PA", "F", 61.0, "H1"],
        ["y", "2", "s2", "val", "AP", "M", 34.5, "H2"],
    ]


def test_split_folders_are_respected_where_the_table_names_no_splits(tmp_path):
    labels = two_labelled(tmp_path, "train/a.png", "test/b.png")
    manifest = found(tmp_path, labels)
    assert rows(manifest, "split", "label") == [["test", "y"], ["train", "x"]]
    assert manifest.reasons["labels"].endswith("; splits from the folders train, val and test")


@pytest.mark.parametrize("names", [("train/a.png", "b.png"), ("train.png", "test.png"), ("train/a.png", "new/b.png")])
def test_images_that_lie_elsewhere_too_have_no_split_from_folders(tmp_path, names):
    assert found(tmp_path, two_labelled(tmp_path, *names)).frame["split"].isna().all()


def test_the_splits_of_the_table_come_before_those_of_folders(tmp_path):
    labels = two_labelled(tmp_path, "train/a.png", "test/b.png", split=["val", "train"])
    assert rows(found(tmp_path, labels), "image", "split") == [["test/b.png", "train"], ["train/a.png", "val"]]


def test_the_reason_names_column_and_table(tmp_path):
    manifest = found(tmp_path, two_labelled(tmp_path))
    assert manifest.reasons["labels"] == "labels from 'label' of labels.csv, matched by relative path"


def test_equal_names_in_two_folders_keep_their_labels(tmp_path):
    labels = two_labelled(tmp_path, "a/img1.png", "b/img1.png")
    assert rows(found(tmp_path, labels), "image", "label") == [["a/img1.png", "x"], ["b/img1.png", "y"]]


def test_bare_names_are_accepted_where_unique_and_this_is_said(tmp_path):
    labels = two_labelled(tmp_path, "a/1.png", "b/2.png", path=["1.png", "2.png"])
    manifest = found(tmp_path, labels)
    assert rows(manifest, "image", "label") == [["a/1.png", "x"], ["b/2.png", "y"]]
    assert "matched by base name" in manifest.reasons["labels"]


def test_a_bare_name_in_two_folders_is_refused(tmp_path):
    labels = two_labelled(tmp_path, "a/1.png", "b/1.png", path=["1.png", "x.png"])
    assert "stand in more than one folder" in refusal(tmp_path, labels).problem


def test_images_that_the_table_does_not_name_are_left_out_and_counted(tmp_path):
    labels = two_labelled(tmp_path)
    make.png(tmp_path / "c.png")
    (tmp_path / "d.png").write_text("no image")
    manifest = found(tmp_path, labels)
    assert rows(manifest, "image") == [["a.png"], ["b.png"]]
    assert manifest.unreadable == ()
    assert manifest.reasons["labels"].endswith("; 2 images that it does not name are left out")


def test_a_table_that_names_absent_files_is_refused_with_ten_and_the_total(tmp_path):
    names = ["a.png", *(f"gone{k:02}.png" for k in range(12))]
    make.png(tmp_path / "a.png")
    labels = make.table(tmp_path / "labels.csv", path=names, label=["x"] * 13)
    error = refusal(tmp_path, labels)
    assert f"names 12 files that are not below {tmp_path}: gone00.png" in error.problem
    assert error.problem.endswith("gone09.png … (12 in all)")
    assert "relative to the data folder" in error.hint


def test_two_spellings_of_one_path_with_two_labels_are_refused(tmp_path):
    labels = two_labelled(tmp_path, path=["a.png", "./a.png"])
    assert "1 images have two labels: a.png" in refusal(tmp_path, labels).problem


def test_headers_fill_attributes_that_the_table_leaves_empty(tmp_path):
    for name in ("a", "b"):
        make.dicom(tmp_path / f"{name}.dcm", PatientSex="F", PatientAge="050Y", ViewPosition="PA")
    labels = make.table(
        tmp_path / "t.csv", path=["a.dcm", "b.dcm"], label=["x", "y"], patient=["1", "2"], sex=["M", ""], age=["", 9]
    )
    assert rows(found(tmp_path, labels), "sex", "age", "view") == [["M", 50.0, "PA"], ["F", 9.0, "PA"]]


def test_an_empty_patient_cell_is_not_filled_from_the_header(tmp_path):
    for name in ("a", "b"):
        make.dicom(tmp_path / f"{name}.dcm", patient=name)
    labels = make.table(tmp_path / "t.csv", path=["a.dcm", "b.dcm"], label=["x", "y"], patient=["1", ""])
    assert "names no patient for 1 images: b.dcm" in refusal(tmp_path, labels).problem


def test_an_unknown_split_in_the_table_is_refused(tmp_path):
    assert (
        "none of train, val and test: fold1" in refusal(tmp_path, two_labelled(tmp_path, split=["fold1", ""])).problem
    )


def test_a_table_of_unreadable_images_only_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    labels = make.table(tmp_path / "t.csv", path=["a.png"], label=["x"])
    error = refusal(tmp_path, labels, max_unreadable_fraction=1.0)
    assert error.problem == f"no image below {tmp_path} can be read"
    assert "effmed inspect" in error.hint


# ---------------------------------------------------------------- DICOM headers


def test_headers_give_patient_study_and_attributes(tmp_path):
    values = {"PatientSex": "F", "PatientAge": "061Y", "Manufacturer": "ACME", "ManufacturerModelName": "X1"}
    make.dicom(tmp_path / "normal" / "a.dcm", patient="P1", study="1.2.3", **values, ImageLaterality="L")
    make.dicom(tmp_path / "sick" / "b.dcm", patient="P2", study="1.2.4", BodyPartExamined="CHEST")
    manifest = found(tmp_path)
    columns = ("patient", "study", "sex", "age", "manufacturer", "scanner", "laterality", "body_part")
    assert rows(manifest, *columns) == [
        ["P1", "1.2.3", "F", 61.0, "ACME", "X1", "L", None],
        ["P2", "1.2.4", None, None, None, None, None, "CHEST"],
    ]
    assert rows(manifest, "modality", "rows", "columns", "bits", "colour", "photometric")[0] == [
        "CR", 12, 16, 12, False, "MONOCHROME2",
    ]  # fmt: skip
    assert "PatientID of the DICOM headers" in manifest.reasons["patient"]


@pytest.mark.parametrize(("policy", "frames"), [("first", [0]), ("middle", [1]), ("all", [0, 1, 2])])
def test_frames_are_taken_as_the_recipe_says(tmp_path, policy, frames):
    make.dicom(tmp_path / "normal" / "a.dcm", patient="P1", frames=3)
    make.dicom(tmp_path / "sick" / "b.dcm", patient="P2", frames=1)
    frame = found(tmp_path, frames=policy).frame
    assert list(frame.loc[frame["label"] == "normal", "frame"]) == frames


def test_a_file_of_several_frames_is_refused_without_a_policy(tmp_path):
    make.dicom(tmp_path / "normal" / "a.dcm", frames=3)
    make.dicom(tmp_path / "sick" / "b.dcm")
    error = refusal(tmp_path)
    assert "normal/a.dcm (has 3 frames)" in error.problem
    assert "--set data.frames=first" in error.hint


def test_frames_of_one_file_are_of_one_patient(tmp_path):
    make.dicom(tmp_path / "normal" / "a.dcm", patient="", frames=3)
    make.dicom(tmp_path / "sick" / "b.dcm", patient="")
    assert found(tmp_path, frames="all", one_image_per_patient=True).frame["patient"].nunique() == 2


# ---------------------------------------------------------------- what is an image


def kinds(root):
    """A readable image in each of two classes, so that only what a test adds can go wrong."""
    make.class_folders(root, patients=1)
    return root


def ignored(root):
    manifest = found(root, **BY_NAME)
    return len(manifest) == 2 and manifest.unreadable == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", b"path,label\n"),
        ("table.csv", b"BMI,age\n22,50\n"),
        ("README", b"read me"),
        ("notes.md", b"# notes"),
        ("index.json", b"{}"),
        ("DICOMDIR", bytes(128) + b"DICM"),
        (".hidden.png", b"no image"),
        ("._p0_0.png", b"resource fork"),
    ],
)
def test_files_that_are_no_images_are_ignored(tmp_path, name, content):
    (kinds(tmp_path) / "sick" / name).write_bytes(content)
    assert ignored(tmp_path)


def test_hidden_folders_are_ignored(tmp_path):
    make.png(kinds(tmp_path) / ".thumbnails" / "p1_0.png")
    assert ignored(tmp_path)


def test_an_image_is_known_by_its_content(tmp_path):
    (kinds(tmp_path) / "sick" / "p1_0.png").rename(tmp_path / "sick" / "p1_0")
    make.dicom(tmp_path / "sick" / "p5_0.IMA", patient="")
    assert rows(found(tmp_path, **BY_NAME), "image") == [["normal/p0_0.png"], ["sick/p1_0"], ["sick/p5_0.IMA"]]


def unreadable(root):
    (item,) = found(root, **BY_NAME, max_unreadable_fraction=0.5).unreadable
    return item


@pytest.mark.parametrize("suffix", [".dcm", ".PNG", ".jpeg", ".tif", ".bmp", ".webp"])
def test_a_text_file_called_like_an_image_is_unreadable(tmp_path, suffix):
    (kinds(tmp_path) / "sick" / f"p5_0{suffix}").write_text("I am text")
    item = unreadable(tmp_path)
    assert item.image == f"sick/p5_0{suffix}"
    assert item.reason == f"not an image, although it is called {suffix}"
    assert "copy the original again" in item.hint


def test_a_corrupt_png_is_unreadable(tmp_path):
    (kinds(tmp_path) / "sick" / "p5_0.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    assert unreadable(tmp_path).image == "sick/p5_0.png"


def test_an_unreadable_image_stops_the_scan_with_the_way_to_allow_it(tmp_path):
    (kinds(tmp_path) / "sick" / "p5_0.dcm").write_text("I am text")
    error = refusal(tmp_path, **BY_NAME)
    assert error.problem == ("1 of 3 images cannot be read: sick/p5_0.dcm (not an image, although it is called .dcm)")
    assert error.hint.endswith("or leave them out: --set data.max_unreadable_fraction=0.34")


def test_a_link_inside_the_folder_is_an_image(tmp_path):
    (kinds(tmp_path) / "sick" / "p5_0.png").symlink_to(tmp_path / "sick" / "p1_0.png")
    assert len(found(tmp_path, **BY_NAME)) == 3


@pytest.mark.parametrize(("target", "reason"), [("outside.png", "leads out of"), ("data/gone.png", "leads nowhere")])
def test_a_link_that_leads_astray_is_unreadable(tmp_path, target, reason):
    make.png(tmp_path / "outside.png")
    (kinds(tmp_path / "data") / "sick" / "p5_0.png").symlink_to(tmp_path / target)
    assert reason in unreadable(tmp_path / "data").reason


def test_links_in_a_circle_do_not_hang(tmp_path):
    (kinds(tmp_path) / "sick" / "loop").symlink_to(tmp_path)
    (tmp_path / "sick" / "self.png").symlink_to(tmp_path / "sick" / "self.png")
    manifest = found(tmp_path, max_unreadable_fraction=0.5, **BY_NAME)
    assert sorted(item.image for item in manifest.unreadable) == ["sick/loop", "sick/self.png"]


def test_a_linked_folder_is_not_entered_and_not_missed_without_a_word(tmp_path):
    make.png(tmp_path / "other" / "p9_0.png")
    (kinds(tmp_path / "data") / "sick" / "more").symlink_to(tmp_path / "other")
    item = unreadable(tmp_path / "data")
    assert (item.image, item.reason) == ("sick/more", "a link to a folder, which is not entered")


def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(kinds(tmp_path) / "sick" / "pipe")
    assert ignored(tmp_path)


def test_a_pipe_called_like_an_image_is_unreadable(tmp_path):
    os.mkfifo(kinds(tmp_path) / "sick" / "pipe.png")
    assert unreadable(tmp_path).reason == "not a regular file"


def test_a_file_without_permission_is_unreadable(tmp_path, monkeypatch):
    locked = kinds(tmp_path) / "sick" / "p5_0.png"
    make.png(locked)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked and access(path, mode))
    item = unreadable(tmp_path)
    assert (item.reason, item.hint) == ("no permission to read it", "allow reading: chmod u+r")


def test_a_folder_that_cannot_be_opened_is_not_passed_over(tmp_path, monkeypatch):
    locked = kinds(tmp_path) / "locked"
    locked.mkdir()
    scandir = os.scandir

    def refuse(path):
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert unreadable(tmp_path) == Unreadable(
        "locked", 0, "the folder cannot be opened (Permission denied)", "allow reading: chmod -R u+rX"
    )


def test_a_name_that_is_no_text_is_unreadable(tmp_path):
    make.png(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(kinds(tmp_path) / "sick" / os.fsdecode(b"p5_\xff.png"))
    item = unreadable(tmp_path)
    assert item.image == "sick/p5_\\udcff.png"
    assert item.reason == "its name is not UTF-8"


@pytest.mark.parametrize("name", ["p5_a\nb.png", 'p5_, "q".png', "p5_ü 肺.png"])
def test_unusual_names_are_read(tmp_path, name):
    make.png(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(kinds(tmp_path) / "sick" / name)
    assert f"sick/{name}" in set(found(tmp_path, **BY_NAME).frame["image"])


def test_a_file_larger_than_allowed_is_unreadable(tmp_path):
    make.dicom(kinds(tmp_path) / "sick" / "p5_0.dcm", Rows=20_000, Columns=20_000)
    assert "data.max_megapixels = 200" in unreadable(tmp_path).reason


def test_progress_tells_how_many_files_are_read(tmp_path):
    told = []
    scan(kinds(tmp_path), None, DataSettings(**BY_NAME), on_progress=lambda done, n: told.append((done, n)))
    assert told == [(2, 2)]


# ---------------------------------------------------------------- patients, prediction, MedMNIST


def test_images_without_patients_are_refused(tmp_path):
    error = refusal(kinds(tmp_path))
    assert "2 of 2 images have no patient: normal/p0_0.png, sick/p1_0.png" in error.problem
    assert "--set data.one_image_per_patient=true" in error.hint


def test_a_pattern_that_cannot_work_is_a_mistake_in_the_recipe(tmp_path):
    assert "no group" in refusal(kinds(tmp_path), kind=RecipeError, patient_pattern="p").problem


def test_prediction_needs_neither_labels_nor_patients(tmp_path):
    make.png(tmp_path / "a.png")
    (tmp_path / "b.dcm").write_text("no image")
    manifest = found(tmp_path, labelled=False)
    assert rows(manifest, "image", "label", "patient", "split") == [["a.png", None, None, None]]
    assert [item.image for item in manifest.unreadable] == ["b.dcm"]
    assert manifest.classes == ()
    assert manifest.reasons["labels"] == "no labels"


def test_prediction_takes_no_class_from_folders(tmp_path):
    make.dicom(tmp_path / "study1" / "a.dcm", patient="P1")
    make.dicom(tmp_path / "train" / "b.dcm", patient="P1")
    assert rows(found(tmp_path, labelled=False), "label", "split", "patient") == [[None, None, "P1"]] * 2


def test_prediction_with_a_table_keeps_images_that_it_does_not_name(tmp_path):
    labels = two_labelled(tmp_path)
    make.png(tmp_path / "c.png")
    manifest = found(tmp_path, labels, labelled=False)
    assert rows(manifest, "label") == [["x"], ["y"], [None]]
    assert manifest.reasons["labels"].endswith("; 1 images that it does not name are not labelled")


def test_prediction_on_unreadable_files_only_gives_their_reasons(tmp_path):
    (tmp_path / "a.dcm").write_text("no image")
    manifest = found(tmp_path, labelled=False)
    assert len(manifest) == 0
    assert len(manifest.unreadable) == 1


def test_prediction_on_an_empty_folder_is_refused(tmp_path):
    assert "no image below" in refusal(tmp_path, labelled=False).problem


def test_a_medmnist_file_is_data_as_it_is(tmp_path):
    make.npz(tmp_path / "m.npz")
    manifest = found(tmp_path / "m.npz")
    assert manifest.classes == ("0", "1")
    assert set(manifest.frame["split"]) == {"train", "val", "test"}
    assert set(manifest.reasons) == {"labels", "patient", "classes", "task"}


def test_prediction_on_a_medmnist_file_of_one_class_is_possible(tmp_path):
    make.npz(tmp_path / "m.npz", n=(1, 1, 1))
    assert found(tmp_path / "m.npz", labelled=False).classes == ("0",)


def test_a_label_table_beside_a_medmnist_file_is_refused(tmp_path):
    make.npz(tmp_path / "m.npz")
    error = refusal(tmp_path / "m.npz", tmp_path / "t.csv", kind=RecipeError)
    assert "does not go with" in error.problem
    assert error.hint == "leave --labels out"


# ---------------------------------------------------------------- the limit


@given(st.integers(1, 500), st.data())
def test_the_fraction_that_the_hint_names_is_enough(n_images, data):
    n_unreadable = data.draw(st.integers(1, n_images))
    items = tuple(Unreadable(f"{k}.png", 0, "damaged", "copy it") for k in range(n_unreadable))
    with pytest.raises(DataError) as caught:
        check_unreadable(n_images, items, DataSettings())
    allowed = float(caught.value.hint.rpartition("=")[2])
    check_unreadable(n_images, items, DataSettings(max_unreadable_fraction=allowed))


def test_long_lists_of_unreadable_images_show_ten_and_the_total():
    items = tuple(Unreadable(f"{k}.png", 0, "damaged", "copy it") for k in range(12))
    with pytest.raises(DataError, match=r"12 of 20 images .* … \(12 in all\)") as caught:
        check_unreadable(20, items, DataSettings(max_unreadable_fraction=0.5))
    assert "10.png" not in caught.value.problem


def test_unreadable_images_within_the_limit_are_no_error():
    check_unreadable(20, (Unreadable("a.png", 0, "damaged", "copy it"),), DataSettings(max_unreadable_fraction=0.05))
