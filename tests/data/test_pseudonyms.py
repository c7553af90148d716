"""Pseudonyms tell persons apart without naming them; the key stays with its owner."""

import hashlib
import hmac
import stat

import pytest

from effmed.data.pseudonyms import Pseudonyms, key_file, make_pseudonyms
from effmed.errors import MachineError


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFMED_KEY", str(tmp_path / "deep" / "own.key"))
    return tmp_path / "deep" / "own.key"


def test_a_pseudonym_is_the_keyed_hash_of_kind_and_identifier():
    expected = hmac.new(b"secret", b"patient|4711", hashlib.sha256).hexdigest()[:16]
    assert Pseudonyms(b"secret").of("patient", "4711") == f"P-{expected}"


def test_another_key_kind_or_identifier_gives_another_pseudonym():
    one = Pseudonyms(b"a")
    found = {one.of("patient", "1"), one.of("patient", "2"), one.of("study", "1"), Pseudonyms(b"b").of("patient", "1")}
    assert len(found) == 4


def test_nothing_has_no_pseudonym_and_kept_identifiers_stay():
    assert Pseudonyms(b"a").of("patient", "") == ""
    assert make_pseudonyms(keep_ids=True).of("patient", "4711") == "4711"


def test_bytes_that_are_no_text_have_a_pseudonym():
    assert Pseudonyms(b"a").of("patient", "J\udcff").startswith("P-")


def test_the_key_is_made_once_and_only_its_owner_may_read_it(place):
    first = make_pseudonyms(keep_ids=False)
    assert first == make_pseudonyms(keep_ids=False)
    assert len(first.key) == 32
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert [path.name for path in place.parent.iterdir()] == ["own.key"]


def test_two_machines_have_two_keys(place):
    first = make_pseudonyms(keep_ids=False)
    place.unlink()
    assert make_pseudonyms(keep_ids=False).key_id != first.key_id


def test_the_name_of_a_key_does_not_hold_it(place):
    made = make_pseudonyms(keep_ids=False)
    assert made.key_id not in made.key.hex()
    assert make_pseudonyms(keep_ids=True).key_id == "kept"


def test_a_file_that_is_no_key_is_refused(place):
    place.parent.mkdir()
    place.write_text("hello")
    with pytest.raises(MachineError, match="is not a key") as caught:
        make_pseudonyms(keep_ids=False)
    assert "EFFMED_KEY" in caught.value.hint


def test_a_key_that_cannot_be_written_is_the_machines_fault(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EFFMED_KEY", str(tmp_path / "file" / "own.key"))
    with pytest.raises(MachineError):
        make_pseudonyms(keep_ids=False)


def test_without_a_name_the_key_lies_in_the_configuration_folder(monkeypatch):
    monkeypatch.delenv("EFFMED_KEY")
    assert key_file().name == "pseudonyms.key"
    assert "effmed" in str(key_file())
