import errno
import os
import shutil
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from effmed.errors import MachineError
from effmed.learn.weights import hub as module
from effmed.learn.weights.hub import LIMITS, fetch
from effmed.learn.weights.records import read_record, record_file
from effmed.learn.weights.sets import default_set
from tests.learn.weights import make

B4 = default_set("b4")
DATA = save({"a": torch.arange(600_000, dtype=torch.float32)})  # 2.4 MB: several reads


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFMED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize("behaviour", ["good", "direct", "renamed"])
def test_a_file_is_fetched_with_its_record(monkeypatch, tmp_path, behaviour):
    ears = make.Ears()
    with make.hub(monkeypatch, DATA, behaviour) as asked:
        record = fetch(B4, tmp_path / "out", ears.listener)
    path = tmp_path / "out" / "tf_efficientnet_b4.ns_jft_in1k.safetensors"
    assert path.read_bytes() == DATA
    assert read_record(path) == record
    assert (record.sha256, record.bytes, record.licence) == (make.sha256(DATA), len(DATA), "Apache-2.0")
    assert record.revision == ("" if behaviour == "direct" else make.COMMIT)
    assert asked[0] == ("HEAD", "/timm/tf_efficientnet_b4.ns_jft_in1k/resolve/main/model.safetensors")
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, record_file(path).name]


def test_size_and_licence_are_announced_before_the_download(monkeypatch, tmp_path):
    ears = make.Ears()
    with make.hub(monkeypatch, DATA) as asked:
        monkeypatch.setattr(module, "_download", lambda *_: asked.append("download"))
        fetch(B4, tmp_path, ears.listener)
    assert ears.said == [
        f"downloading timm/tf_efficientnet_b4.ns_jft_in1k from {module.hub()}: 2.4 MB, licence Apache-2.0"
    ]
    assert [each[0] for each in asked[:-1]] == ["HEAD"]


def test_progress_ends_with_the_whole_file(monkeypatch, tmp_path):
    ears = make.Ears()
    with make.hub(monkeypatch, DATA):
        fetch(B4, tmp_path, ears.listener)
    assert ears.steps[-1] == (2, 2)
    assert len(ears.steps) >= 3


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("missing", "it answered 404"),
        ("withdrawn", "Forbidden"),
        ("no digest", "it answered 200 without a SHA-256"),
        ("loop", "more than 5 redirects"),
        ("ftp", "cannot be had"),
        ("other bytes", "nothing was kept"),
        ("cut", "it ended after|more expected"),
        ("silent", r"no answer within 0\.3 s|timed out"),
        ("silent file", r"no answer within 0\.3 s|timed out"),
        ("stalled", "timed out"),
    ],
)
def test_a_failing_download_names_both_remedies_and_leaves_nothing(monkeypatch, tmp_path, behaviour, says):
    out = tmp_path / "out"
    with make.hub(monkeypatch, DATA, behaviour), pytest.raises(MachineError, match=says) as caught:
        fetch(B4, out, make.Ears().listener, limits=make.SHORT)
    assert "tf_efficientnet_b4.ns_jft_in1k" in caught.value.problem
    for remedy in ("effmed weights fetch b4 --out DIR", "EFFMED_WEIGHTS=DIR", "--set model.weights=FILE"):
        assert remedy in caught.value.hint
    assert not out.exists() or list(out.iterdir()) == []


def test_a_hub_that_is_not_there_fails_at_once(monkeypatch, tmp_path):
    with make.hub(monkeypatch, DATA):
        pass  # its address stays, nobody listens there any more
    started = time.monotonic()
    with pytest.raises(MachineError, match="Connection refused"):
        fetch(B4, tmp_path, make.Ears().listener)
    assert time.monotonic() - started < LIMITS.answer_s


def test_an_address_that_is_none_is_a_known_error(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "hub.example")
    with pytest.raises(MachineError, match=r"cannot be had from hub\.example"):
        fetch(B4, tmp_path, make.Ears().listener)


def test_two_requests_fail_within_fifteen_seconds():
    assert 2 * LIMITS.answer_s <= 15
    assert LIMITS.stall_s <= 15


def test_a_name_that_is_looked_up_for_ever_is_given_up(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(module, "_ask", lambda *_: time.sleep(2))
    started = time.monotonic()
    with pytest.raises(MachineError, match=r"no answer within 0\.3 s"):
        fetch(B4, tmp_path, make.Ears().listener, limits=make.SHORT)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("switch", ["EFFMED_OFFLINE", "HF_HUB_OFFLINE"])
def test_a_switch_keeps_the_hub_from_being_asked(monkeypatch, tmp_path, switch):
    with make.hub(monkeypatch, DATA) as asked:
        monkeypatch.setenv(switch, "1")
        with pytest.raises(MachineError, match=f"{switch}=1 forbids") as caught:
            fetch(B4, tmp_path, make.Ears().listener)
    assert asked == []
    assert "EFFMED_WEIGHTS=DIR" in caught.value.hint


def test_what_is_there_is_not_fetched_again(monkeypatch, tmp_path):
    make.fetched(tmp_path, B4, {"a": torch.ones(2)})
    ears = make.Ears()
    with make.hub(monkeypatch, DATA) as asked:
        record = fetch(B4, tmp_path, ears.listener)
    assert asked == []
    assert record.network == B4.network
    assert "is there already" in ears.said[0]


def test_what_is_there_and_damaged_is_refused(tmp_path):
    path = make.fetched(tmp_path, B4, {"a": torch.ones(2)})
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(MachineError, match="are damaged") as caught:
        fetch(B4, tmp_path, make.Ears().listener)
    assert caught.value.hint == f"remove {path}, then fetch it again"


def test_a_file_of_unknown_origin_is_not_replaced(tmp_path):
    path = tmp_path / B4.file_name
    path.write_bytes(b"somebody's")
    with pytest.raises(MachineError, match="is there already, without"):
        fetch(B4, tmp_path, make.Ears().listener)
    assert path.read_bytes() == b"somebody's"


def test_the_hubs_local_cache_serves_without_the_network(tmp_path):
    make.hub_cache(tmp_path / "hub", B4, DATA)
    ears = make.Ears()
    record = fetch(B4, tmp_path / "out", ears.listener)  # the switch of the tests forbids the network
    assert (tmp_path / "out" / B4.file_name).read_bytes() == DATA
    assert (record.source, record.sha256) == ("local hub cache", make.sha256(DATA))
    assert "copying" in ears.said[0]


def test_a_damaged_cache_is_not_copied(tmp_path):
    link = make.hub_cache(tmp_path / "hub", B4, DATA)
    link.resolve().write_bytes(DATA[:-1])
    with pytest.raises(MachineError, match="are damaged") as caught:
        fetch(B4, tmp_path / "out", make.Ears().listener)
    assert "remove" in caught.value.hint


def test_the_hubs_own_file_of_lite_is_fetched_where_the_package_is_installed(monkeypatch, tmp_path):
    with make.hub(monkeypatch, DATA) as asked:
        fetch(default_set("lite0"), tmp_path, make.Ears().listener)
    assert asked[-1] == ("GET", "/bytes")
    assert set(load((tmp_path / "tf_efficientnet_lite0.in1k.safetensors").read_bytes())) == {"a"}


def test_too_small_a_disk_is_seen_before_the_download(monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with make.hub(monkeypatch, DATA) as asked, pytest.raises(MachineError, match="1 MB free on the disk"):
        fetch(B4, tmp_path / "out", make.Ears().listener)
    assert [each[0] for each in asked] == ["HEAD"]


def test_a_disk_that_fills_up_is_said_to_be_full(monkeypatch, tmp_path):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    ears = make.Ears()
    with make.hub(monkeypatch, DATA), pytest.raises(MachineError, match="the disk is full"):
        fetch(B4, tmp_path / "out", replace(ears.listener, progress=lambda done, _: full(done)))
    assert list((tmp_path / "out").iterdir()) == []
