"""The check of a GPU: what it says where there is none, what it refuses, and its table."""

import subprocess
import sys
import zipfile

import pytest

from benchmarks import gpu_check

ROW = {
    "device": "NVIDIA H100",
    "network": "tf_efficientnet_b0",
    "size": 224,
    "batch": 64,
    "precision": "bfloat16",
    "whole_s": 31.25,
    "fed_rate": 3900.0,
    "resident_rate": 4000.0,
}


def wheel(folder, name="made_up", version="1.0"):
    """Write the smallest wheel that pip accepts."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", "ANSWER = 42\n")
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return path


def answers(code, stdout="", stderr=""):
    """Stand in for a program that is run."""
    return lambda *_, **__: subprocess.CompletedProcess([], code, stdout, stderr)


def test_without_a_gpu_it_says_so(monkeypatch):
    monkeypatch.setattr(gpu_check, "_run", answers(0, "\n"))
    with pytest.raises(SystemExit, match="nothing was checked: torch sees no CUDA device on this machine"):
        gpu_check.main([])


def test_without_torch_it_says_which_python_has_none(monkeypatch):
    monkeypatch.setattr(gpu_check, "_run", answers(1))
    with pytest.raises(SystemExit, match=f"{sys.executable} has no torch"):
        gpu_check.find_gpu()


def test_the_name_of_the_gpu_is_what_torch_says(monkeypatch):
    monkeypatch.setattr(gpu_check, "_run", answers(0, "NVIDIA H100 80GB HBM3\n"))
    assert gpu_check.find_gpu() == "NVIDIA H100 80GB HBM3"


def test_carried_wheels_are_found_by_what_is_run(tmp_path):
    wheel(tmp_path / "wheels")
    gpu_check.unpack(tmp_path / "wheels", tmp_path / "site")
    found = gpu_check._run(
        ["-c", "import made_up, benchmarks.gpu_check; print(made_up.ANSWER)"],
        gpu_check.environment_with(tmp_path / "site"),
        is_quiet=True,
    )
    assert found.stdout == "42\n"


@pytest.mark.parametrize("name", ["torch", "torchvision", "nvidia_cudnn_cu13"])
def test_a_wheel_that_would_replace_torch_is_refused(tmp_path, name):
    wheel(tmp_path / "wheels")
    wheel(tmp_path / "wheels", name)
    with pytest.raises(SystemExit, match=f"{name}-1.0-py3-none-any.whl would replace the machine's own"):
        gpu_check.unpack(tmp_path / "wheels", tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_packages_that_only_sound_like_torch_are_not_refused():
    assert not gpu_check.KEPT.match("torchmetrics-1.9.0-py3-none-any.whl")


def test_a_folder_without_wheels_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="holds no wheels"):
        gpu_check.unpack(tmp_path, tmp_path / "site")


def test_a_wheel_that_is_none_is_refused(tmp_path):
    (tmp_path / "broken-1.0-py3-none-any.whl").write_text("no archive")
    with pytest.raises(SystemExit, match="pip could not install"):
        gpu_check.unpack(tmp_path, tmp_path / "site")


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(gpu_check, "NEEDED", "import effmed_never_written")
    with pytest.raises(SystemExit, match="No module named 'effmed_never_written'; carry its wheel"):
        gpu_check.check_needed(gpu_check.environment_with(gpu_check.SITE))


def test_the_table_says_where_the_loader_is_too_slow():
    lines = list(gpu_check.table([ROW, {**ROW, "fed_rate": 3700.0}]))[2:]
    assert lines == [
        "| tf_efficientnet_b0 at 224 px | 64, bfloat16 | 31.2 | 4,000 | 3,900 | 97.5% |",
        "| tf_efficientnet_b0 at 224 px | 64, bfloat16 | 31.2 | 4,000 | 3,700 | 92.5% (below 95%) |",
    ]


def test_a_failed_test_ends_the_check_after_the_table(monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "find_gpu", lambda: "NVIDIA H100")
    monkeypatch.setattr(gpu_check, "check_needed", lambda environment: None)
    monkeypatch.setattr(gpu_check, "measure", lambda environment, networks: [ROW])
    monkeypatch.setattr(gpu_check, "_run", answers(1))
    with pytest.raises(SystemExit, match="pytest ended with 1"):
        gpu_check.main([])
    assert "### NVIDIA H100\n" in capsys.readouterr().out


def test_a_training_that_fails_is_told(monkeypatch):
    monkeypatch.setattr(gpu_check, "_run", answers(1, stderr="out of memory"))
    with pytest.raises(SystemExit, match="b0 could not be trained:\nout of memory"):
        gpu_check.measure({}, [("b0", 224)])


def test_networks_are_named_with_their_sizes():
    assert gpu_check.parse(["--networks", "a:32,b:64"]).networks == (("a", 32), ("b", 64))
