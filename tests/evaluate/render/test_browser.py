"""What a browser makes of the page: no script, no request, nothing wider than a phone, pages on paper."""

import json
import re
import shutil
import subprocess

import pytest

from effmed.evaluate.render import write_report
from tests.evaluate.render import make
from tests.evaluate.render.test_parts import SECTIONS

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
FLAGS += ("--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND")
MAX_BYTES = 3_000_000
PHONE_PX, DESKTOP_PX = 360, 1100
KINDS = ("two", "three", "labels")
# The page stands in a frame of a given width, whose own scripts measure it: the page has none.
RULER = """<!DOCTYPE html><title>ruler</title><body style="margin:0"><iframe id="page" src="{page}"
style="border:0;width:{width}px;height:800px"></iframe><pre id="found"></pre><script>
onload = () => {{
  const page = document.getElementById("page").contentDocument, root = page.documentElement;
  const outside = [...page.querySelectorAll("body *")].filter(each =>
    !each.closest(".scroll") && each.getBoundingClientRect().right > {width} + 1);
  const unread = [...page.querySelectorAll("svg[role=img]")].filter(each =>
    !page.getElementById(each.getAttribute("aria-labelledby"))?.textContent.trim());
  document.getElementById("found").textContent = JSON.stringify({{
    width: Math.max(root.scrollWidth, page.body.scrollWidth),
    outside: outside.map(each => each.tagName + " " + each.textContent.slice(0, 60)),
    unread: unread.length, figures: page.querySelectorAll("figure").length,
    small: [...page.querySelectorAll("figure svg")].filter(each => each.getBoundingClientRect().width < 300).length,
    pictures: [...page.images].map(each => each.complete && each.naturalWidth),
  }});
}};
</script>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no browser here"),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder per kind of report, with everything in it, long names and pictures."""
    root = tmp_path_factory.mktemp("written")
    reports = {
        "two": make.two(),
        "three": make.three(classes=(make.LONG, "x" * 80, "c")),
        "labels": make.labels(tmp_path_factory.mktemp("labels"), rename=("fracture", make.LONG)),
    }
    for kind, report in reports.items():
        write_report(report, root / kind, make.thumbnails(report))
    return root


def browse(page, profile, *more):
    command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", "--virtual-time-budget=2000", *more, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)


def measured(written, kind, width, tmp_path):
    ruler = written / f"ruler-{kind}-{width}.html"
    ruler.write_text(RULER.format(page=f"{kind}/report.html", width=width), encoding="utf-8")
    shown = browse(ruler, tmp_path, "--allow-file-access-from-files", "--dump-dom").stdout
    return json.loads(re.search(r'<pre id="found">(.*?)</pre>', shown, re.DOTALL)[1].replace("&gt;", ">"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_browser_sees_all_chapters_and_plots(written, kind, tmp_path):
    shown = browse(written / kind / "report.html", tmp_path, "--dump-dom").stdout
    assert all(f'<h2 id="{name}"' in shown for name in SECTIONS)
    assert shown.count("<figure") == len(list((written / kind / "plots").glob("*.svg")))


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_has_no_script_and_asks_for_nothing(written, kind):
    page = (written / kind / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|iframe|object|embed)\b|@import|\son\w+=", page)
    asked = re.findall(r'\b(?:src|href|srcset|data|action)="([^"]*)"', page) + re.findall(r"url\(([^)]*)\)", page)
    assert asked
    assert [each[:40] for each in asked if not each.startswith(("#", "data:image/png;base64,"))] == []
    assert len(page.encode()) < MAX_BYTES


@pytest.mark.parametrize("width", [PHONE_PX, DESKTOP_PX])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wider_than_the_window(written, kind, width, tmp_path):
    found = measured(written, kind, width, tmp_path)
    assert found["outside"] == []
    assert found["width"] <= width
    assert (found["unread"], found["small"]) == (0, 0)
    assert found["figures"] == len(list((written / kind / "plots").glob("*.svg")))
    assert found["pictures"]
    assert set(found["pictures"]) == {160}


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_prints_on_several_pages_of_paper(written, kind, tmp_path):
    paper = tmp_path / "report.pdf"
    browse(written / kind / "report.html", tmp_path / "profile", f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    content = paper.read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > 1
    assert len(content) < MAX_BYTES
