"""``effmed cache info`` and ``effmed cache clear``."""

import json

import pytest
from typer.testing import CliRunner

from effmed.cli.app import app
from effmed.data.cache import open_cache
from effmed.data.pixels import Preprocessing
from tests import make

SPEC = Preprocessing(height=8, width=6, channels=1, depth="uint8", window="stored", max_megapixels=1.0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFMED_CACHE", str(tmp_path / "cache"))
    make.png(tmp_path / "data" / "0.png")
    open_cache(make.manifest(labels=["a"], root=tmp_path / "data"), SPEC)
    return tmp_path / "cache"


def run(*arguments):
    return CliRunner().invoke(app, ["cache", *arguments])


def test_what_is_kept_is_told_with_its_size(cache):
    facts = json.loads(run("info", "--json").stdout)
    assert facts["folder"] == str(cache)
    assert facts["bytes"] == sum(kept["bytes"] for kept in facts["kept"]) > 0
    text = run("info").stdout
    assert "8 px high x 6 px wide, 1 channel(s), uint8, window stored" in text
    assert " MB" in text


def test_clearing_leaves_nothing_and_says_how_much_became_free(cache):
    before = json.loads(run("info", "--json").stdout)["bytes"]
    assert json.loads(run("clear", "--json").stdout) == {"freed_bytes": before}
    assert json.loads(run("info", "--json").stdout)["kept"] == []
    assert run("clear").stdout == "0.0 MB freed\n"
