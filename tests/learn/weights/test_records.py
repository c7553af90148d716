import hashlib

import pytest
import torch

from effmed.errors import MachineError
from effmed.learn.weights.records import check_sha256, file_sha256, read_record, record_file
from effmed.learn.weights.sets import default_set
from tests.learn.weights import make

B0 = default_set("b0")


def test_a_file_is_known_by_its_sha256(tmp_path):
    (tmp_path / "w").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert file_sha256(tmp_path / "w") == digest
    check_sha256(tmp_path / "w", digest, remedy="none")
    check_sha256(tmp_path / "w", digest[:8], remedy="none")


def test_another_file_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "w").write_bytes(b"weights")
    with pytest.raises(MachineError, match="are damaged: SHA-256") as caught:
        check_sha256(tmp_path / "w", "0" * 64, remedy="fetch it again")
    assert caught.value.hint == "fetch it again"


def test_a_file_that_cannot_be_read_is_a_known_error(tmp_path):
    with pytest.raises(MachineError, match="cannot be read"):
        file_sha256(tmp_path)


def test_what_is_recorded_is_read_again(tmp_path):
    path = make.fetched(tmp_path, B0, {"a": torch.ones(2)})
    record = read_record(path)
    assert (record.variant, record.network, record.licence) == ("b0", "tf_efficientnet_b0.ns_jft_in1k", "Apache-2.0")
    assert record.sha256 == file_sha256(path)
    assert record_file(path).name == "tf_efficientnet_b0.ns_jft_in1k.safetensors.json"


def test_a_file_without_a_record_has_none(tmp_path):
    assert read_record(tmp_path / "w.safetensors") is None


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"version": 2}', b"\xff\xfe"])
def test_a_damaged_record_is_refused(tmp_path, text):
    (tmp_path / "w.safetensors.json").write_bytes(text)
    with pytest.raises(MachineError, match="cannot be understood"):
        read_record(tmp_path / "w.safetensors")
