import gc
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from effmed import __version__
from effmed.cli import app as module
from effmed.cli.app import app, main
from effmed.errors import BundleError, DataError, MachineError, RecipeError

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def collecting_as_before():
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_version_is_printed():
    result = RUNNER.invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"effmed {__version__}\n")


def test_no_command_shows_the_help():
    assert "Commands" in RUNNER.invoke(app, []).output


@pytest.mark.parametrize(("kind", "code"), [(RecipeError, 2), (DataError, 3), (BundleError, 4), (MachineError, 5)])
def test_a_known_error_is_two_lines_and_its_exit_code(monkeypatch, capsys, kind, code):
    def fail():
        raise kind("it is wrong", hint="mend it")

    monkeypatch.setattr(module, "app", fail)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == code
    assert capsys.readouterr().err == "error: it is wrong\nhint: mend it\n"


def test_debugging_shows_the_traceback(monkeypatch):
    def fail():
        raise DataError("it is wrong", hint="mend it")

    monkeypatch.setattr(module, "app", fail)
    monkeypatch.setenv("EFFMED_DEBUG", "1")
    with pytest.raises(DataError):
        main()


def test_an_interruption_ends_with_130(monkeypatch, capsys):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "app", interrupt)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_command_looks_for_lost_cycles_rarely_and_not_at_its_end(monkeypatch):
    found = []
    monkeypatch.setattr(module, "app", lambda: found.append((gc.get_threshold()[0], gc.get_freeze_count())))
    main()
    assert found == [(module.NEW_OBJECTS, 0)]
    assert gc.get_freeze_count() > 0


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "effmed", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"effmed {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["train"], 2, "--data is missing"),
        (["train", "--data", "x", "--variant", "b44"], 2, "did you mean 'b4'"),
        (["train", "--data", "x", "--phi", "9"], 2, "not within 0 and 7"),
        (["train", "--data", "x", "--phi", "2", "--variant", "b4"], 2, "two networks"),
        (["train", "--data", "x", "--recipe", "chest-xry"], 2, "did you mean 'chest-xray'"),
        (["train", "--data", "x", "--set", "train.epoch=1"], 2, "did you mean 'train.epochs'"),
        (["train", "--data", "does-not-exist"], 3, "does-not-exist"),
        (["evaluate", "no-run"], 4, "no-run"),
        (["evaluate", "--predictions", "p.csv", "--data", "x"], 2, "stands alone"),
        (["evaluate", "--predictions", "p.csv", "--labels", "x.csv"], 2, "stands alone"),
        (["predict", "--data", "x", "--out", "scores.txt"], 2, "neither"),
        (["trian"], 2, "No such command"),
    ],
)
def test_wrong_requests_end_with_their_exit_code(tmp_path, monkeypatch, capsys, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["effmed", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (code, "")
    assert says in said.err
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_request_ends_a_process_with_its_exit_code(tmp_path):
    command = [sys.executable, "-m", "effmed", "train", "--data", "does-not-exist"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "Traceback" not in done.stderr
