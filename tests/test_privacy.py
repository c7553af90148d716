"""Nothing that a run leaves or says names a person: planted identifiers are looked for in every byte of it."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from effmed.cli.app import app
from tests import make

PLANTED = {
    "PatientName": "ZEPHYRINUS^QUINTESSA",
    "AccessionNumber": "ACC7731994",
    "PatientBirthDate": "19610203",
    "StudyDate": "20190817",
    "StudyDescription": "ZEBRAWORD THORAX",
    "OtherPatientIDs": "OTHER55512",
    "InstitutionName": "KLINIK XYLOPHON",
    "ReferringPhysicianName": "DOKTOR^WALNUSS",
}
WORDS = (
    "ZEPHYRINUS",
    "QUINTESSA",
    "ACC7731994",
    "19610203",
    "20190817",
    "ZEBRAWORD",
    "OTHER55512",
    "XYLOPHON",
    "WALNUSS",
)
IDS = ("MRN90", "1.2.826.77.")  # how every planted PatientID, and every study, series and instance UID begins
SETTINGS = (
    "model.weights=none", "model.image_size=32", "train.epochs=1", "train.threads=1", "train.batch_size=8",
)  # fmt: skip


def planted(root, n=24):
    chance = np.random.default_rng(0)
    for k in range(n):
        label = "sick" if k % 2 else "normal"
        pixels = chance.integers(0, 1000 + 2000 * (k % 2), (24, 24)).astype(np.uint16)
        make.dicom(
            root / label / f"{k}.dcm",
            patient=f"MRN90{k:03d}",
            study=f"1.2.826.77.1.{k}",
            pixels=pixels,
            SeriesInstanceUID=f"1.2.826.77.2.{k}",
            SOPInstanceUID=f"1.2.826.77.3.{k}",
            **PLANTED,
        )
    make.dicom(root / "sick" / "bad.dcm", patient="MRN90999", study="1.2.826.77.1.99", Rows=0, **PLANTED)
    return root


def texts(folder):
    """Every file's bytes as text, Parquet as CSV, and every file's name."""
    for path in sorted(folder.rglob("*")):
        yield str(path.relative_to(folder))
        if path.suffix == ".parquet":
            yield pd.read_parquet(path).to_csv()
        elif path.is_file():
            yield path.read_bytes().decode("latin-1")


def found(text, words):
    return [word for word in words if word in text]


@pytest.fixture
def story(tmp_path, monkeypatch, caplog):
    """A training, an evaluation, a prediction and an inspection; what they said, and where what they left lies."""
    data = planted(tmp_path / "data")
    (tmp_path / "left").mkdir()
    monkeypatch.chdir(tmp_path / "left")
    monkeypatch.setenv("EFFMED_CACHE", str(tmp_path / "left" / "cache"))
    caplog.set_level(logging.DEBUG)

    def tell(*settings):
        sets = [
            part
            for setting in (*SETTINGS, "data.max_unreadable_fraction=0.1", *settings)
            for part in ("--set", setting)
        ]
        train = ["train", "--variant", "timm:test_efficientnet", "--data", str(data), "--run", "run", *sets]
        scan = [part for setting in settings for part in ("--set", setting)]
        commands = (
            train,
            ["evaluate", "run", "--out", "again"],
            ["inspect", str(data), *scan, "--json", "--out", "sheet"],
        )
        commands += (["predict", "run", "--data", str(data), "--out", "scores.csv", *scan],)
        said = [CliRunner().invoke(app, command) for command in commands]
        assert [result.exit_code for result in said] == [0, 0, 0, 3]  # 3: one file is unreadable
        return "".join(result.output for result in said) + caplog.text

    return tmp_path / "left", tell


def test_no_planted_identifier_is_said_or_left(story):
    left, tell = story
    said = tell()
    assert found(said, (*WORDS, *IDS)) == []
    seen = [word for text in texts(left) for word in found(text, (*WORDS, *IDS))]
    assert seen == []
    manifest = pd.read_csv(left / "run" / "manifest.csv")
    assert manifest["patient"].nunique() == 24
    assert manifest["patient"].str.match("P-[0-9a-f]{16}$").all()
    assert manifest["instance"].str.match("I-[0-9a-f]{16}$").all()
    assert pd.read_csv(left / "scores.csv")["patient"].dropna().str.match("P-[0-9a-f]{16}$").all()


def test_kept_ids_are_said_and_stand_in_tables_only(story):
    left, tell = story
    said = tell("data.keep_ids=true")
    assert said.count("data.keep_ids = true") == 2  # train and predict
    assert found(said, (*WORDS, *IDS)) == []
    holding = {
        str(path.relative_to(left)) for path in left.rglob("*") if path.is_file() and b"MRN90" in path.read_bytes()
    }
    tables = {"run/manifest.csv", "run/predictions/val.parquet", "run/predictions/test.parquet", "scores.csv"}
    assert holding == tables
    assert [word for text in texts(left) for word in found(text, WORDS)] == []
    environment = json.loads((left / "run" / "environment.json").read_text())
    assert environment["pseudonym_key"] == "kept"
