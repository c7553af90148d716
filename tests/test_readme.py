"""The README's demo, run as it is written: on DICOM, with pretrained weights."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
COMMANDS = re.findall(r"^    \$ effmed (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_the_readme_shows_the_commands_of_make_demo():
    recipe = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    demo = re.findall(r"/effmed ((?:train|evaluate|predict).*)$", recipe, re.MULTILINE)
    assert demo
    assert demo == COMMANDS


@pytest.mark.slow
def test_the_commands_of_the_readme_work_on_dicom(tmp_path):
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("OMP_NUM_THREADS", None)  # all cores, as somebody has who types them
    for command in COMMANDS:
        arguments = [sys.executable, "-m", "effmed", *command.split()]
        done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert set(scores["status"]) == {"ok"}
    assert len(scores) == 196
