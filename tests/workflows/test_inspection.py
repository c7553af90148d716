"""``effmed inspect``: counts, unreadable files, findings, and a contact sheet."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from effmed.cli.app import app
from tests.workflows import make

PATTERN = ("--set", "data.patient_pattern=(p[0-9]+)")


@pytest.fixture
def data(tmp_path):
    """12 patients of two classes, one copy, one file cut off in the middle of its pixels."""
    root = make.patients(tmp_path / "data", 12)
    shutil.copy(root / "sick" / "p01.png", root / "healthy" / "p98.png")
    whole = (root / "sick" / "p03.png").read_bytes()
    (root / "sick" / "p99.png").write_bytes(whole[: len(whole) // 2])
    return root


def inspect(*arguments):
    return CliRunner().invoke(app, ["inspect", *map(str, arguments), *PATTERN])


def test_what_train_would_find_is_found(data):
    found = json.loads(inspect(data, "--json").stdout)
    assert (found["n_images"], found["classes"]) == (13, {"healthy": 7, "sick": 6})
    assert "conflicting-labels" in {finding["kind"] for finding in found["findings"]}
    assert [item["path"] for item in found["unreadable"]] == ["sick/p99.png"]
    assert found["unreadable"][0]["hint"]
    (size,) = found["overview"]["tables"]["size"]
    assert size == {"value": "48 x 40", "n_images": 13, "per_class": {"healthy": 7, "sick": 6}}
    assert found["overview"]["splits"][-1]["n_patients"] == 13
    assert found["sheet"] is None


def test_people_get_the_same_on_a_screen(data):
    text = inspect(data).stdout
    for part in ("conflicting-labels", "sick/p99.png", "48 x 40", "unreadable (1 in all)", "patients"):
        assert part in text


def test_the_contact_sheet_shows_every_image_that_can_be_read(data, tmp_path):
    result = inspect(data, "--out", tmp_path / "sheet")
    page = (tmp_path / "sheet" / "index.html").read_text()
    assert f"contact sheet {tmp_path / 'sheet' / 'index.html'}" in result.stderr
    assert page.count('alt="sick/p01.png') >= 2  # in its class and in a finding
    assert 'alt="sick/p99.png' not in page
    assert "sick/p99.png" in page


def test_a_folder_that_holds_something_is_not_written_into(data, tmp_path):
    (tmp_path / "sheet").mkdir()
    (tmp_path / "sheet" / "mine.txt").write_text("mine")
    assert inspect(data, "--out", tmp_path / "sheet").exit_code != 0
    assert inspect(data, "--out", tmp_path / "sheet", "--overwrite").exit_code == 0


def test_a_second_look_decodes_nothing(data, tmp_path, monkeypatch):
    monkeypatch.setenv("EFFMED_CACHE", str(tmp_path / "cache"))
    assert "decoding images: 14/14" in inspect(data).stderr
    again = inspect(data).stderr
    assert "decoding images: 1/1" in again  # what cannot be decoded is tried again
    assert "14" not in again.partition("decoding")[2]


def test_several_windows_are_shown_through_the_first(data):
    assert inspect(data, "--set", "data.window=40/80,600/2800", "--json").exit_code == 0
