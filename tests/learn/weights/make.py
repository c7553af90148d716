"""Builders for the tests of weights: a hub on this machine that behaves well or badly, and files as it leaves them."""

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from safetensors.torch import save

from effmed.learn.weights.hub import Limits, Listener
from effmed.learn.weights.records import WeightsRecord, record_file
from effmed.run import write_json

SHORT = Limits(answer_s=0.3, stall_s=0.3)
COMMIT = "c0ffee" * 6 + "abcd"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Ears:
    """A listener that remembers."""

    def __init__(self):
        self.said, self.steps = [], []
        self.listener = Listener(self.said.append, lambda done, total: self.steps.append((done, total)))


class Hub(BaseHTTPRequestHandler):
    """Answers as huggingface.co does, a redirect that names size and digest, or as ``server.behaviour`` says."""

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def announce(self, where="/bytes"):
        names = {"x_linked_etag": f'"{sha256(self.server.data)}"', "x_linked_size": str(len(self.server.data))}
        self.answer(302, location=where, etag='"of the pointer"', x_repo_commit=COMMIT, **names)

    def whole(self):
        self.answer(200, self.server.data, etag=f'"{sha256(self.server.data)}"')

    def half(self):
        self.send_response(200)
        self.send_header("content-length", str(len(self.server.data)))
        self.end_headers()
        self.wfile.write(self.server.data[: len(self.server.data) // 2])
        self.wfile.flush()

    def wait(self):
        self.server.ended.wait(5)

    def rename(self):
        self.announce() if self.path.startswith("/moved") else self.answer(307, location=f"/moved{self.path}")

    def do_HEAD(self):
        self.server.asked.append((self.command, self.path))
        behaviours = {
            "silent": self.wait,
            "missing": lambda: self.answer(404),
            "loop": lambda: self.answer(307, location=self.path),
            "renamed": self.rename,
            "no digest": lambda: self.answer(200, etag='"abc"'),
            "direct": self.whole,
            "ftp": lambda: self.announce("ftp://127.0.0.1/bytes"),
        }
        behaviours.get(self.server.behaviour, self.announce)()

    def do_GET(self):
        self.server.asked.append((self.command, self.path))
        behaviours = {
            "silent file": self.wait,
            "other bytes": lambda: self.answer(200, bytes(len(self.server.data))),
            "cut": self.half,
            "stalled": lambda: (self.half(), self.wait()),
            "withdrawn": lambda: self.answer(403),
        }
        if self.path != "/bytes" and self.server.behaviour != "direct":
            self.announce("ftp://127.0.0.1/bytes" if self.server.behaviour == "ftp" else "/bytes")
        else:
            behaviours.get(self.server.behaviour, self.whole)()


@contextmanager
def hub(monkeypatch, data, behaviour="good"):
    """Serve ``data`` as every repository's model.safetensors, and let effmed take this server for the hub.

    Behaviours: good, direct (no redirect), renamed, loop, ftp, other bytes, cut, missing, withdrawn, no digest,
    silent, silent file, stalled.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    server.data, server.behaviour, server.asked, server.ended = data, behaviour, [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    try:
        yield server.asked
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def fetched(folder, weight_set, tensors, **changes):
    """Leave a file and its record as ``effmed weights fetch`` does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / weight_set.file_name
    path.write_bytes(save(tensors))
    values = {
        "variant": weight_set.variant,
        "network": weight_set.network,
        "source": "https://huggingface.co/…",
        "revision": COMMIT,
        "licence": weight_set.licence,
        "sha256": sha256(path.read_bytes()),
        "bytes": path.stat().st_size,
        "resolution_px": weight_set.resolution_px,
        "mean": weight_set.mean,
        "std": weight_set.std,
    }
    write_json(record_file(path), WeightsRecord(**(values | changes)))
    return path


def hub_cache(folder, weight_set, data):
    """Lay a file out as the hub's own library does: a blob named by its SHA-256, and a link to it."""
    repository = folder / f"models--{weight_set.hub_name.replace('/', '--')}"
    for place in ("blobs", "refs", f"snapshots/{COMMIT}"):
        (repository / place).mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "blobs" / sha256(data)).write_bytes(data)
    link = repository / "snapshots" / COMMIT / "model.safetensors"
    link.symlink_to(repository / "blobs" / sha256(data))
    return link
