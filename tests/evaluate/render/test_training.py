"""The page of a training: every curve, in any state, from any version's history, without script or request."""

import re
import time

import pytest

from effmed.evaluate.render.training import Course, render_training

FACTS = {"variant": "b4, 380 x 380 px", "device": "<a cpu>"}


def course(**changes):
    values = {
        "run": "xrays-b4-1",
        "metric": "auroc",
        "n_epochs": 20,
        "facts": FACTS,
        "is_over": False,
        "written": "now",
    }
    return Course(**(values | changes))


def history(n, *, best=None, old=False, **changes):
    lines = []
    for k in range(1, n + 1):
        line = {"number": k, "train_loss": 0.7 / k, "val_loss": 0.6 / k + 0.1, "val_score": 0.9 - 0.3 / k}
        line |= {"is_best": k == (best or n), "learning_rate": 2e-4 / k, "duration_s": 30.0}
        if not old:
            line |= {"val_low": 0.8 - 0.3 / k, "val_high": 0.95 - 0.3 / k, "images_per_s": 212.0}
            line |= {"loader_wait_fraction": 0.03, "memory_mb": 1234.0, "n_images": 2400}
        lines.append(line | changes)
    return lines


def figures(page):
    return re.findall(r'<figcaption id="(.*?)-caption"', page)


def test_every_quantity_has_its_curve_and_the_best_epoch_its_mark():
    page = render_training(history(7, best=5), course())
    assert figures(page) == ["loss", "metric", "learning-rate", "speed", "wait", "memory"]
    assert page.count('class="best"') == 6 + 1  # of the drawings, and the row
    assert page.count('class="band"') == 1
    assert "Best epoch: 5, with val AUROC 0.840 (0.740 to 0.890)." in page
    assert "7 of 20 epochs done; the others take 6 min at most" in page


def test_an_older_history_has_the_curves_that_it_can_have():
    page = render_training(history(7, old=True), course())
    assert figures(page) == ["loss", "metric", "learning-rate"]
    assert 'class="band"' not in page
    assert "val AUROC 0.857." in page


def test_the_log_loss_is_the_val_loss_and_has_no_curve_of_its_own():
    page = render_training(history(3, val_score=-0.4, val_low=None, val_high=None), course(metric="log_loss"))
    assert "metric" not in figures(page)
    assert "with val log loss 0.400." in page


def test_before_the_first_epoch_the_page_says_so():
    page = render_training([], course())
    assert figures(page) == []
    assert "No epoch is done yet." in page
    assert "0 of 20 epochs done." in page


def test_what_is_no_number_is_a_gap():
    lines = history(5)
    lines[2] |= {"train_loss": float("nan"), "val_loss": float("inf"), "val_low": None}
    page = render_training(lines, course())
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert not re.search(r"\b(nan|inf|None)\b", drawn)
    loss = page.split("<figure>")[1]
    assert [path.count("M") for path in re.findall(r'class="curve" d="(.*?)"', loss)] == [2, 2]
    assert page.split("<figure>")[2].split('class="band" d="')[1].split('"')[0].count("M") == 2


def test_a_running_training_is_read_again_and_one_that_is_over_is_not():
    assert 'http-equiv="refresh"' in render_training(history(2), course())
    over = render_training(history(12), course(is_over=True))
    assert "refresh" not in over
    assert "12 of 20 epochs done; training is over early." in over
    assert ">20</text>" not in over.split("<figure>")[1]  # the axis ends where the training did


def test_the_page_has_no_script_asks_for_nothing_and_escapes_what_it_shows():
    page = render_training(history(3), course(run="<b>run</b>"))
    assert not re.search(r"<(script|link|iframe|object|embed|img)\b|@import|\son\w+=|url\(|https?://", page)
    assert re.findall(r'\b(?:src|href|srcset|data|action)="([^"]*)"', page) == []
    assert "<b>run" not in page
    assert "&lt;a cpu&gt;" in page


@pytest.mark.parametrize("n", [1, 40, 200])
def test_a_page_is_small_and_made_at_once(n):
    started = time.perf_counter()
    page = render_training(history(n), course(n_epochs=200))
    assert time.perf_counter() - started < 1.0
    assert len(page) < 200_000
