"""The sample data is what make.py says: small, synthetic, varied, and told apart by the picture only."""

import csv
import dataclasses
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000Lossless

from sample_data import make

COMMITTED = Path(make.__file__).parent / "xrays"
LARGEST_FOLDER = 6_000_000  # bytes
CLASSES = ("clear", "opacity")

Row = dict[str, str]


def table(folder: Path) -> list[Row]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def stored_values(header: Dataset) -> np.ndarray[Any, Any]:
    if header.file_meta.TransferSyntaxUID == JPEG2000Lossless:
        return np.asarray(imagecodecs.jpeg2k_decode(next(generate_frames(header.PixelData, number_of_frames=1))))
    return header.pixel_array


def shown(header: Dataset) -> np.ndarray[Any, Any]:
    values = stored_values(header)
    return make.LARGEST_VALUE - values if header.PhotometricInterpretation == "MONOCHROME1" else values


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xrays")
    make.make(folder)
    return folder


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return table(COMMITTED)


@pytest.fixture(scope="module")
def headers(rows: list[Row]) -> dict[str, Dataset]:
    return {row["path"]: dcmread(COMMITTED / row["path"]) for row in rows}


# ---------------------------------------------------------------- made again


@pytest.mark.slow
def test_making_an_image_twice_gives_the_same_bytes(made: Path) -> None:
    for one in make.acquisitions()[::6]:
        again = io.BytesIO()
        make.radiograph(one).save_as(again, enforce_file_format=True)
        assert again.getvalue() == (made / one.path).read_bytes(), one.path


@pytest.mark.slow
def test_the_committed_table_is_what_the_script_makes(made: Path) -> None:
    assert (COMMITTED / "labels.csv").read_bytes() == (made / "labels.csv").read_bytes()


@pytest.mark.slow
def test_the_committed_pixels_are_what_the_script_makes(made: Path, headers: dict[str, Dataset]) -> None:
    for path, header in headers.items():
        new, old = (stored_values(one).astype(int) for one in (dcmread(made / path), header))
        # exp() differs in its last digit between processors, so a value may round to its neighbour
        np.testing.assert_allclose(new, old, rtol=0, atol=1, err_msg=path)


@pytest.mark.slow
def test_the_committed_headers_are_what_the_script_makes(made: Path, headers: dict[str, Dataset]) -> None:
    for path, header in headers.items():
        new = dcmread(made / path)
        assert new.file_meta.TransferSyntaxUID == header.file_meta.TransferSyntaxUID, path
        assert [e for e in new if e.keyword != "PixelData"] == [e for e in header if e.keyword != "PixelData"], path


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make.acquisitions()[:1]
    monkeypatch.setattr(make, "acquisitions", lambda: first)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.dcm").write_bytes(b"mine")
    assert make.make(tmp_path) == 1
    assert (tmp_path / "images" / "mine.dcm").read_bytes() == b"mine"


def test_the_script_writes_into_the_folder_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make.acquisitions()[:1]
    monkeypatch.setattr(make, "acquisitions", lambda: first)
    monkeypatch.setattr(sys, "argv", ["make.py", "--out", str(tmp_path / "here")])
    make.main()
    assert [row["path"] for row in table(tmp_path / "here")] == [first[0].path]


# ---------------------------------------------------------------- what is there


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in COMMITTED.rglob("*") if path.is_file()) < LARGEST_FOLDER


def test_the_table_names_every_file_and_nothing_else(rows: list[Row]) -> None:
    there = {path.relative_to(COMMITTED).as_posix() for path in COMMITTED.rglob("*") if path.is_file()}
    named = [row["path"] for row in rows]
    assert len(named) == len(set(named))
    assert there == {"labels.csv", *named}


def test_there_are_about_a_hundred_patients_with_some_two_hundred_images(rows: list[Row]) -> None:
    assert len({row["patient_id"] for row in rows}) == 100
    assert 180 <= len(rows) <= 250


def test_about_two_in_five_images_show_an_opacity(rows: list[Row]) -> None:
    assert {row["label"] for row in rows} == set(CLASSES)
    assert sum(row["label"] == "opacity" for row in rows) / len(rows) == pytest.approx(0.4, abs=0.03)


def test_a_patient_has_one_label(rows: list[Row]) -> None:
    assert len({(row["patient_id"], row["label"]) for row in rows}) == len({row["patient_id"] for row in rows})


@pytest.mark.parametrize("label", CLASSES)
def test_some_patients_have_several_images_and_views(rows: list[Row], label: str) -> None:
    views: dict[str, list[str]] = {}
    for row in rows:
        if row["label"] == label:
            views.setdefault(row["patient_id"], []).append(row["view"])
    assert sum(len(of_patient) > 1 for of_patient in views.values()) > 10
    assert sum(len(set(of_patient)) > 1 for of_patient in views.values()) > 5


def test_the_number_of_a_patient_does_not_tell_the_label() -> None:
    numbers = {label: [p.number for p in make.patients() if p.label == label] for label in CLASSES}
    assert abs(np.mean(numbers["clear"]) - np.mean(numbers["opacity"])) < 12  # two standard errors


ATTRIBUTES: dict[str, Callable[[Dataset], object]] = {
    "photometric interpretation": lambda header: header.PhotometricInterpretation,
    "transfer syntax": lambda header: header.file_meta.TransferSyntaxUID,
    "window": lambda header: "WindowCenter" in header,
    "view": lambda header: header.ViewPosition,
    "sex": lambda header: header.PatientSex,
    "age": lambda header: int(header.PatientAge[:3]) >= 55,
}
KINDS = dict(zip(ATTRIBUTES, (2, 3, 2, 2, 2, 2), strict=True))


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_no_attribute_tells_the_label(rows: list[Row], headers: dict[str, Dataset], name: str) -> None:
    found = {label: [ATTRIBUTES[name](headers[r["path"]]) for r in rows if r["label"] == label] for label in CLASSES}
    kinds = set(found["clear"])
    assert len(kinds) == KINDS[name]
    assert kinds == set(found["opacity"])
    for kind in kinds:
        clear, opacity = (values.count(kind) / len(values) for values in found.values())
        assert clear == pytest.approx(opacity, abs=0.1), kind


def test_the_table_says_what_the_headers_say(rows: list[Row], headers: dict[str, Dataset]) -> None:
    for row in rows:
        header = headers[row["path"]]
        in_header = (header.PatientID, header.ViewPosition, header.PatientSex, int(header.PatientAge[:3]))
        assert in_header == (row["patient_id"], row["view"], row["sex"], int(row["age"]))


def test_no_name_or_date_looks_like_a_person(headers: dict[str, Dataset]) -> None:
    for header in headers.values():
        assert str(header.PatientName).startswith("SYNTHETIC^")
        assert not any(element.value for element in header if element.VR in {"DA", "TM", "DT"})
        assert not header.ReferringPhysicianName


def test_every_instance_has_its_own_uid(headers: dict[str, Dataset]) -> None:
    uids = {header.SOPInstanceUID for header in headers.values()}
    assert len(uids) == len(headers)
    assert all(uid.is_valid for uid in uids)


# ---------------------------------------------------------------- the picture


def test_pixels_have_twelve_bits(headers: dict[str, Dataset]) -> None:
    for header in headers.values():
        assert (header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation) == (16, 12, 11, 0)
        values = stored_values(header)
        assert values.shape == (make.SIZE, make.SIZE)
        assert values.max() <= make.LARGEST_VALUE
        assert np.unique(values).size > 2**8


def test_the_spine_is_brighter_than_the_air_in_both_photometric_interpretations(headers: dict[str, Dataset]) -> None:
    for path, header in headers.items():
        picture = shown(header)
        assert np.median(picture[:, make.SIZE // 2]) > np.quantile(picture, 0.05) + 400, path


def test_a_window_covers_most_of_the_body(headers: dict[str, Dataset]) -> None:
    for path, header in headers.items():
        if "WindowCenter" in header:
            distance = np.abs(stored_values(header) - float(header.WindowCenter))
            assert np.mean(distance <= header.WindowWidth / 2) > 0.9, path


def test_compression_loses_nothing() -> None:
    for syntax in make.SYNTAX_SHARES:
        one = next(o for o in make.acquisitions() if o.syntax == syntax and o.photometric == "MONOCHROME1")
        np.testing.assert_array_equal(shown(make.radiograph(one)), make.exposed(one)[0])


def test_an_opacity_is_the_only_difference_between_the_classes() -> None:
    sick = next(one for one in make.acquisitions() if one.patient.label == "opacity")
    well = dataclasses.replace(sick, patient=dataclasses.replace(sick.patient, label="clear"))
    difference = make.brightness(sick) - make.brightness(well)
    assert difference.min() >= -1e-9
    assert 0.1 < difference.max() < 0.4
    assert np.mean(difference > 0.02) < 0.25


def test_shares_are_kept_when_they_are_dealt() -> None:
    items = make.dealt(np.random.default_rng(0), {"a": 0.5, "b": 0.3, "c": 0.2}, 20)
    assert {item: items.count(item) for item in "abc"} == {"a": 10, "b": 6, "c": 4}
