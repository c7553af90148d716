import errno
import json
import os
from pathlib import Path

import pytest

from effmed import run as run_module
from effmed.errors import BundleError, MachineError, RecipeError
from effmed.run import (
    Run,
    append_line,
    check_absent,
    check_writable,
    claimed,
    machine_error,
    make_run_folder,
    newest_run,
    open_run,
    replacing,
    write_json,
    write_text,
)


def make_run(folder, *, complete):
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text("{}")
    if complete:
        (folder / "done.json").write_text("{}")
    return Run(folder)


def test_the_next_run_folder_is_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (make_run_folder(None, data=tmp_path / "x rays", variant="b4") for _ in range(2))
    assert (first.folder.name, second.folder.name) == ("x_rays-b4-1", "x_rays-b4-2")


def test_a_named_run_folder_may_be_empty_but_not_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    assert make_run_folder(tmp_path / "empty", data=tmp_path, variant="b0").folder == tmp_path / "empty"
    (tmp_path / "empty" / "x").touch()
    with pytest.raises(BundleError, match="already holds something"):
        make_run_folder(tmp_path / "empty", data=tmp_path, variant="b0")


def test_only_a_complete_run_opens(tmp_path):
    assert open_run(make_run(tmp_path / "a", complete=True).folder).is_complete
    with pytest.raises(BundleError, match="not complete") as caught:
        open_run(make_run(tmp_path / "b", complete=False).folder)
    assert "--resume" in caught.value.hint
    with pytest.raises(BundleError, match="not a run folder"):
        open_run(tmp_path)


def test_the_newest_complete_run_is_found(tmp_path):
    for name, complete, time in (("a", True, 100), ("b", True, 300), ("c", True, 200), ("d", False, 400)):
        run = make_run(tmp_path / name, complete=complete)
        os.utime(run.done if complete else run.plan, (time, time))
    assert newest_run(tmp_path).folder.name == "b"
    assert newest_run(tmp_path, complete=False).folder.name == "d"


def test_no_run_at_all_is_an_error_that_says_how_to_make_one(tmp_path):
    with pytest.raises(BundleError, match="no complete run") as caught:
        newest_run(tmp_path)
    assert "effmed train" in caught.value.hint


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")

    def break_off():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert path.read_text() == "old"
    assert [item.name for item in path.parent.iterdir()] == ["a.txt"]


def test_a_file_where_a_folder_should_be_is_a_machine_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="could not be written"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_a_folder_is_moved_into_place_whole(tmp_path):
    with replacing(tmp_path / "made") as temporary:
        temporary.mkdir()
        (temporary / "x").touch()
    assert (tmp_path / "made" / "x").is_file()


def test_a_half_made_folder_is_removed(tmp_path):
    def break_off():
        with replacing(tmp_path / "made") as temporary:
            temporary.mkdir()
            (temporary / "x").touch()
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(MachineError, match="disk is full"):
        break_off()
    assert list(tmp_path.iterdir()) == []


def test_nan_never_reaches_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    write_json(tmp_path / "a.json", {"x": 1.5})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1.5}


def test_lines_are_appended(tmp_path):
    append_line(tmp_path / "h", "a")
    append_line(tmp_path / "h", "b")
    assert (tmp_path / "h").read_text() == "a\nb\n"


def test_appending_where_one_may_not_is_a_machine_error(tmp_path):
    with pytest.raises(MachineError):
        append_line(tmp_path / "none" / "h", "a")


@pytest.mark.parametrize(
    ("number", "says"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "no permission"), (errno.EIO, "could not be")]
)
def test_what_the_system_refuses_is_said_in_words(tmp_path, number, says):
    assert says in machine_error(OSError(number, os.strerror(number)), tmp_path).problem


def test_too_little_space_is_noticed_before_the_work(tmp_path):
    check_writable(tmp_path / "new" / "folder")
    with pytest.raises(MachineError, match="MB free"):
        check_writable(tmp_path, needed_mb=10**12)


def test_no_permission_is_noticed_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(MachineError, match="no permission"):
        check_writable(tmp_path)


def test_a_run_folder_that_cannot_be_made_is_a_machine_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError):
        make_run_folder(tmp_path / "file" / "run", data=tmp_path, variant="b0")


def test_nothing_is_written_over_unasked(tmp_path):
    (tmp_path / "a.csv").touch()
    check_absent(tmp_path / "b.csv", overwrite=False)
    check_absent(tmp_path / "a.csv", overwrite=True)
    with pytest.raises(RecipeError, match="exists already"):
        check_absent(tmp_path / "a.csv", overwrite=False)
    with pytest.raises(RecipeError, match="exists already"):
        check_absent(tmp_path, overwrite=False)


def begun(folder):
    """What a training writes before its first step."""
    run = Run(folder)
    (folder / "last" / ".epoch-0000.0a1b2c3d").mkdir(parents=True)
    (folder / "last" / ".epoch-0000.0a1b2c3d" / "state.pt").write_bytes(b"torn")
    run.environment.write_text(json.dumps({"effmed": "0", "job": "", "command": "effmed train"}))
    run.recipe.write_text("{}")
    (folder / ".audit.json.0a1b2c3d.json").write_text("{")
    return run


def test_a_training_that_was_killed_before_its_first_step_may_begin_again_there(tmp_path):
    run = begun(tmp_path / "run")
    assert make_run_folder(run.folder, data=tmp_path, variant="b0") == run
    assert list(run.folder.iterdir()) == []


@pytest.mark.parametrize("names", [[".lock"], [".lock", ".environment.json.0a1b2c3d.json"], []])
def test_a_training_that_was_killed_before_it_wrote_anything_may_begin_again_there(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("{")
    assert make_run_folder(tmp_path, data=tmp_path, variant="b0").folder == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_an_ensemble_that_was_killed_before_its_plan_was_written_may_begin_again_there(tmp_path):
    run = begun(tmp_path / "run")
    torn = ".plan.json.0a1b2c3d.json"
    for name in ("last/weights.safetensors", "last/start.json", "last/.start.json.0a1b2c3d.json", torn):
        (run.folder / name).write_text("{")
    for part in ("fold-1", "seed-12"):
        (run.folder / part).mkdir()
        for name in ("environment.json", "plan.json", "manifest.csv", torn):
            (run.folder / part / name).write_text("{")
    assert make_run_folder(run.folder, data=tmp_path, variant="b0") == run
    assert list(run.folder.iterdir()) == []


@pytest.mark.parametrize(
    "name", [".git/config", "last/thesis.txt", "notes.md", "plan.json", ".audit.json.mine", "fold-1/notes.md"]
)
def test_a_folder_that_holds_anything_else_is_left_as_it_is(tmp_path, name):
    run = begun(tmp_path / "run")
    path = run.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    before = sorted(run.folder.rglob("*"))
    with pytest.raises(BundleError, match="already holds something"):
        make_run_folder(run.folder, data=tmp_path, variant="b0")
    assert sorted(run.folder.rglob("*")) == before


@pytest.mark.parametrize("text", ["{}", "[1]", "no json", '{"job": "x", "command": "y"}'])
def test_an_environment_that_is_not_ours_marks_nothing(tmp_path, text):
    run = begun(tmp_path / "run")
    run.environment.write_text(text)
    with pytest.raises(BundleError, match="already holds something"):
        make_run_folder(run.folder, data=tmp_path, variant="b0")
    assert run.environment.read_text() == text


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    run = begun(tmp_path / "run")
    with claimed(run):
        with pytest.raises(BundleError, match="another process trains in"), claimed(run):
            pass
        with pytest.raises(BundleError, match="another process trains in"):
            make_run_folder(run.folder, data=tmp_path, variant="b0")
    with claimed(run):
        pass
    assert run.recipe.is_file()


def test_a_disk_without_locks_is_warned_of_and_used(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    with claimed(Run(tmp_path)) as doubt:
        assert doubt == ""
    monkeypatch.setattr(run_module.fcntl, "flock", refuse)
    with claimed(Run(tmp_path)) as doubt:
        assert doubt.startswith(f"Function not implemented: {tmp_path} cannot be locked")


def test_a_folder_that_cannot_be_written_to_is_a_machine_error(tmp_path):
    with pytest.raises(MachineError), claimed(Run(tmp_path / "gone")):
        pass


def test_two_trainings_that_begin_at_once_have_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = make_run_folder(None, data=Path("xrays"), variant="b0")
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))  # the other one's is not seen yet
    assert make_run_folder(None, data=Path("xrays"), variant="b0").folder.name == "xrays-b0-2"
    assert first.folder.name == "xrays-b0-1"
