"""``training.html`` shows what the history holds, and no folder of this machine."""

import json

from effmed.run import Run
from effmed.workflows.training.showing.page import read_history, write_training_page
from tests.learn.make import plan


def write_lines(run, n):
    lines = [
        {"number": k, "train_loss": 0.5, "val_loss": 0.5, "val_score": 0.6, "is_best": k == 1} for k in range(1, n + 1)
    ]
    run.history.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_page_follows_the_history(tmp_path):
    run = Run(tmp_path / "xrays-b0-1")
    run.folder.mkdir()
    assert read_history(run) == []
    for n in (1, 2):
        write_lines(run, n)
        write_training_page(run, plan(epochs=5), is_over=False)
        assert f"{n} of 5 epochs done" in run.training_page.read_text(encoding="utf-8")
    assert [path.name for path in run.folder.iterdir() if path.name[0] == "."] == []


def test_the_page_names_the_run_and_no_folder(tmp_path):
    run = Run(tmp_path / "xrays-b0-1")
    run.folder.mkdir()
    write_training_page(run, plan(weights="file /home/somebody/weights.pth"), is_over=True)
    page = run.training_page.read_text(encoding="utf-8")
    assert "Training of xrays-b0-1" in page
    assert str(tmp_path) not in page
    assert "/home" not in page
    assert "<td>file</td>" in page
