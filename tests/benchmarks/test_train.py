"""The benchmark beside timm's script: its images, its commands, and how it reads what both sides say."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import train

TASK = train.Task(Path("data"), network="test_efficientnet", size=32, epochs=2, batch=8, n_train=20)
LOG = """
Train: 0 [   0/2 ( 50%)]  Loss: 0.7 (0.7)  Time: 9.000s,    0.89/s  (9.000s,    0.89/s)  LR: 1e-3  Data: 1.0 (1.0)
Train: 0 [   1/2 (100%)]  Loss: 0.7 (0.7)  Time: 1.000s,    8.00/s  (5.000s,    1.60/s)  LR: 1e-3  Data: 0.1 (0.5)
Test: [   0/1]  Time: 1.000 (1.000)  Loss:   0.7 ( 0.7)  Acc@1:  50.0 ( 50.0)  Acc@5: 100.0 (100.0)
Test: [   1/1]  Time: 1.000 (1.000)  Loss:   0.7 ( 0.7)  Acc@1:  50.0 ( 50.0)  Acc@5: 100.0 (100.0)
Train: 1 [   0/2 ( 50%)]  Loss: 0.7 (0.7)  Time: 3.000s,    2.67/s  (3.000s,    2.67/s)  LR: 1e-3  Data: 1.0 (1.0)
Train: 1 [   1/2 (100%)]  Loss: 0.7 (0.7)  Time: 1.000s,    8.00/s  (2.000s,    4.00/s)  LR: 1e-3  Data: 0.1 (0.5)
Test: [   0/1]  Time: 0.750 (0.750)  Loss:   0.7 ( 0.7)  Acc@1:  50.0 ( 50.0)  Acc@5: 100.0 (100.0)
Test: [   1/1]  Time: 0.250 (0.500)  Loss:   0.7 ( 0.7)  Acc@1:  50.0 ( 50.0)  Acc@5: 100.0 (100.0)
"""
SCRIPT = "import sys\nsys.stderr.write('''{log}''')\nsys.exit({code})\n"


@pytest.fixture
def timm(tmp_path):
    """Make a checkout whose script says what timm's would, and trains nothing."""
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "train.py").write_text(SCRIPT.format(log=LOG, code=0))
    return tmp_path / "timm"


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_images_lie_in_the_folders_of_splits_and_classes(tmp_path, bits, dtype):
    train.make_images(tmp_path, {"train": 4, "val": 2}, 48, bits)
    paths = sorted(tmp_path.rglob("*.png"))
    assert [path.relative_to(tmp_path).parts[:2] for path in paths] == [
        *[("train", "clear")] * 2,
        *[("train", "opacity")] * 2,
        ("val", "clear"),
        ("val", "opacity"),
    ]
    pictures = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths]
    assert {(picture.shape, picture.dtype.type) for picture in pictures} == {((48, 48), dtype)}
    assert len({picture.tobytes() for picture in pictures}) == 6


def test_images_that_are_there_stay(tmp_path):
    train.make_images(tmp_path, {"train": 2}, 16, 8)
    path = next(tmp_path.rglob("*.png"))
    before = path.stat().st_mtime_ns
    train.make_images(tmp_path, {"train": 2}, 16, 8)
    assert path.stat().st_mtime_ns == before


def test_the_class_is_a_bright_disc_and_nothing_else():
    noise = np.zeros((64, 64), dtype=np.float32)
    clear, opaque = (train.make_picture(noise, 5, label, bits=16).astype(float) for label in (0, 1))
    brighter = (opaque - clear)[opaque != clear]
    wide, bright = train.OPACITY_FRACTIONS
    assert 0.5 < len(brighter) / (np.pi * (wide * 64) ** 2) < 1.5
    assert brighter == pytest.approx(np.full(len(brighter), bright * 65535), abs=2)


def test_the_same_number_is_the_same_picture():
    noise = np.random.default_rng(0).standard_normal((32, 32), dtype=np.float32)
    pictures = [train.make_picture(noise, number, 1, bits=8) for number in (1, 1, 2)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_both_sides_get_the_same_task_and_effmed_an_empty_cache(tmp_path):
    ours, own = train.command_of("effmed", TASK, Path("timm"), tmp_path)
    theirs, plain = train.command_of("timm", TASK, Path("timm"), tmp_path)
    assert {"timm:test_efficientnet", "model.image_size=32", "train.epochs=2", "train.batch_size=8"} < {*ours}
    assert "model.weights=none" in ours
    said = {name: theirs[theirs.index(name) + 1] for name in ("--model", "--img-size", "--epochs", "--batch-size")}
    assert [*said.values()] == ["test_efficientnet", "32", "2", "8"]
    assert not Path(own["EFFMED_CACHE"]).exists()
    assert plain == {}
    assert "--channels-last" not in theirs


def test_tuned_by_hand_is_timm_with_another_layout_and_allocator(tmp_path):
    plain, _ = train.command_of("timm", TASK, Path("timm"), tmp_path)
    tuned, own = train.command_of("timm tuned", TASK, Path("timm"), tmp_path)
    assert tuned == [*plain, "--channels-last"]
    assert own["GLIBC_TUNABLES"].count("glibc.malloc.") == 3


def test_the_rate_of_timm_holds_validation_and_leaves_out_the_first_epoch():
    assert train._of_log(LOG, TASK, 60.0) == train.Outcome(60.0, 16 / (2 * 2.0 + 2 * 0.5))


def test_a_log_that_misses_an_epoch_is_refused():
    with pytest.raises(RuntimeError, match="tells of 2 trained and 2 validated"):
        train._of_log(LOG, train.Task(Path("data"), "test_efficientnet", 32, 3, 8, 20), 60.0)


def test_the_rate_of_effmed_holds_validation_and_leaves_out_the_first_epoch():
    epochs = [{"duration_s": 9.0}, {"duration_s": 4.0}, {"duration_s": 6.0}]
    assert train._of_history("\n".join(map(json.dumps, epochs)), 20, 30.0) == train.Outcome(30.0, 4.0)


def test_how_long_effmed_waited_is_read_where_its_history_says_so():
    epochs = [{"duration_s": 1.0, "loader_wait_fraction": share} for share in (0.5, 0.01, 0.03)]
    assert train._of_history("\n".join(map(json.dumps, epochs)), 20, 3.0).wait_fraction == pytest.approx(0.02)


def test_a_training_that_fails_says_what_it_said_last(timm, tmp_path):
    (timm / "train.py").write_text(SCRIPT.format(log="no such network", code=3))
    with pytest.raises(RuntimeError, match="timm ended with 3:\nno such network"):
        train.run_way("timm", TASK, timm, tmp_path / "out")


def test_turns_alternate_and_every_way_has_its_outcomes(timm, tmp_path):
    found = train.take_turns(("timm", "timm tuned"), TASK, timm, tmp_path, 2)
    assert [len(outcomes) for outcomes in found.values()] == [2, 2]
    logs = sorted(tmp_path.glob("*/log.txt"), key=lambda path: path.stat().st_mtime_ns)
    assert [path.parent.name for path in logs] == ["0-timm", "0-timm-tuned", "1-timm-tuned", "1-timm"]


def test_ratios_are_taken_turn_by_turn():
    found = {
        "effmed": [train.Outcome(10.0, 30.0, 0.01), train.Outcome(20.0, 20.0, 0.02)],
        "timm": [train.Outcome(30.0, 10.0), train.Outcome(40.0, 10.0)],
    }
    assert list(train.table(found))[2:] == [
        "| effmed | 15.0 |  | 25.0 |  |",
        "| timm | 35.0 | 2.50 (2.00 to 3.00) | 10.0 | 2.50 (2.00 to 3.00) |",
        "\neffmed waited for images: 1.5 % of the training time",
    ]


def test_a_folder_without_the_script_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.parse([str(tmp_path)])
    assert "holds no train.py" in capsys.readouterr().err


@pytest.mark.slow
def test_effmed_and_a_script_are_measured_from_start_to_end(timm, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tiny = "--images 20 --val 8 --side 40 --size 32 --epochs 2 --batch 8 --turns 1 --network test_efficientnet"
    train.main([str(timm), *tiny.split(), "--ways", "effmed,timm", "--data", str(tmp_path / "data")])
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    rows = {row[0]: row[1:] for row in cells if row and row[0] in train.WAYS}
    assert [*rows] == ["effmed", "timm"]
    assert float(rows["effmed"][0]) > 1 > float(rows["timm"][0])
    assert float(rows["effmed"][2]) > 0
