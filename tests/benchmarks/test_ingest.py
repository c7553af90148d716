"""The benchmark of what comes in: it measures what it says, on sizes that take no time."""

import numpy as np
import pytest

from benchmarks import ingest, radiographs
from effmed.data.pixels import read_header


@pytest.mark.slow
def test_every_row_has_a_figure():
    tiny = "--headers 6 --files 12 --side 512 --images 40 --pairs 4 --turns 1 --cached 2"
    rows = list(ingest.make_rows(ingest.parse([*tiny.split(), "--network", "test_efficientnet"])))
    assert [row.what for row in rows] == [
        "headers, one core",
        "scan of 12 files",
        "DICOM 512 x 512, 16 bits to 380",
        "JPEG 2000 512 x 512, 16 bits, reduced",
        "audit of 40 images",
        "building the cache, an image",
        "opening 2 images",
        "reading a batch of 32",
    ]
    assert all(row.ours and row.result for row in rows)


@pytest.mark.slow
def test_a_scan_finds_all_files_and_has_memory():
    found = ingest.measure_scan(5)
    assert found["n_images"] == 5
    assert 0 < found["main_gb"] <= found["all_gb"]


def test_both_readers_find_the_same_in_a_header(tmp_path):
    path = radiographs.write_radiograph(tmp_path / "a.dcm", radiographs.made_up(8), number=7)
    header = read_header(path)
    values = ingest.read_with_pydicom(path)
    assert {header.patient, header.study, header.series, header.instance, header.modality} < {*map(str, values)}


def test_both_chains_show_the_same_picture(tmp_path):
    path = radiographs.write_radiograph(
        tmp_path / "a.dcm", radiographs.made_up(760), PhotometricInterpretation="MONOCHROME1"
    )
    ours = radiographs.read_with_effmed(path, ingest._spec("uint8")).astype(float)
    naive = ingest.read_naively(path).astype(float)
    assert np.abs(ours - naive).mean() < 2


def test_reduced_decoding_reads_fewer_pixels_and_shows_nearly_the_same():
    _, difference = ingest.measure_reduced(1600, 1)
    assert 0 < difference < 1


def test_links_lie_in_folders_of_a_thousand(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "LINKS_PER_FOLDER", 2)
    monkeypatch.setattr(ingest, "N_DIFFERENT", 3)
    root = tmp_path / "data"
    root.mkdir()
    ingest.link_radiographs(root, 5)
    names = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.dcm"))]
    assert names == ["0000/0000000.dcm", "0000/0000001.dcm", "0001/0000002.dcm", "0001/0000003.dcm", "0002/0000004.dcm"]


def test_ratios_are_taken_turn_by_turn(monkeypatch):
    seconds = iter([9.0, 1.0, 1.0, 3.0, 2.0, 4.0])
    monkeypatch.setattr(radiographs, "_cpu_seconds", lambda work: next(seconds))
    turns = radiographs.take_turns(lambda: None, lambda: None, 2)
    assert (turns.ours_s, turns.other_s, turns.ratios) == (pytest.approx(1.5), 3.5, (3.0, 2.0))
    assert str(turns) == "2.5 x (2.0 to 3.0)"


def test_the_table_has_columns():
    table = ingest.as_table([ingest.Row("scan", "1 s", "", "peak"), ingest.Row("a", "20 s", "b: 3 s", "2 x")])
    assert table.splitlines()[2:] == ["scan  1 s             peak", "a     20 s    b: 3 s  2 x"]
