"""Pseudonyms: who is the same person or study, without saying which.

Identifiers are few and follow rules, so that a plain hash of them can be undone by trying all. A keyed one cannot,
without the key; the key stays on this machine, outside every run.
"""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from effmed.errors import MachineError
from effmed.run import machine_error

KEY_VARIABLE = "EFFMED_KEY"
KEY_ID = "pseudonym_key"  # what environment.json calls the name of the key
KEY_FILE = "pseudonyms.key"
KEY_BYTES = 32
DIGITS = 16  # 64 bits: among a million identifiers two alike are expected once in 10^7 data sets
INITIALS = {"patient": "P", "study": "S", "series": "R", "instance": "I"}
COPY_HINT = f"copy the key file of the machine that made it, or name another with {KEY_VARIABLE}=FILE"


@dataclass(frozen=True)
class Pseudonyms:
    """Turns identifiers into pseudonyms.

    Attributes:
        key: Secret; empty where identifiers are kept as they are.
    """

    key: bytes

    @property
    def is_kept(self) -> bool:
        """Whether identifiers stay what they are."""
        return not self.key

    @property
    def key_id(self) -> str:
        """A name of the key that does not betray it; pseudonyms can be compared where it is the same."""
        return hmac.digest(self.key, b"name of the key", "sha256").hex()[:DIGITS] if self.key else "kept"

    def of(self, kind: str, identifier: str) -> str:
        """Return the pseudonym of an identifier: a letter for its kind and 16 hexadecimal digits; "" of "".

        Args:
            kind: patient, study, series or instance; the same text has another pseudonym in each.
            identifier: As the header or table gives it.

        Source:
            HMAC-SHA-256, RFC 2104; cut as its section 5 allows.
        """
        if not self.key or not identifier:
            return identifier
        message = f"{kind}|{identifier}".encode("utf-8", "surrogateescape")
        return f"{INITIALS[kind]}-{hmac.digest(self.key, message, 'sha256').hex()[:DIGITS]}"


def make_pseudonyms(*, keep_ids: bool) -> Pseudonyms:
    """Return what turns identifiers into pseudonyms with this machine's key, which is made where there is none.

    Args:
        keep_ids: Keep identifiers as they are instead.

    Raises:
        MachineError: The key cannot be read or written.
    """
    return Pseudonyms(b"") if keep_ids else Pseudonyms(_read_key(key_file()))


def key_file() -> Path:
    """Return where the key lies: ``$EFFMED_KEY``, or a file in the platform's configuration folder."""
    named = os.environ.get(KEY_VARIABLE)
    return Path(named) if named else platformdirs.user_config_path("effmed") / KEY_FILE


def _read_key(path: Path) -> bytes:
    try:
        if not path.exists():
            _write_key(path)
        text = path.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except OSError as error:
        raise machine_error(error, path) from error
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        problem = f"{path} is not a key for pseudonyms: {2 * KEY_BYTES} hexadecimal digits are expected"
        raise MachineError(problem, hint=COPY_HINT)
    return key


def _write_key(path: Path) -> None:
    """Write a new key that only its owner may read; where two commands do so at once, the first one's stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
        with suppress(FileExistsError):  # another command was first; its key is read
            os.link(temporary, path)
    finally:
        temporary.unlink()
