"""The parts of the page: tables, subgroups, errors, and which of them stand on pages of which kind."""

import base64
import csv
import io
import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from effmed.evaluate.predictions import read_predictions
from effmed.evaluate.render import render_html, write_report
from effmed.evaluate.render.page import render_page
from effmed.evaluate.render.parts import tables
from effmed.evaluate.render.parts.errors import MAX_PICTURE_BYTES, error_lists, named_images
from effmed.evaluate.render.parts.groups import ABSENT, group_grids, groups_of, heterogeneity_grid
from effmed.evaluate.render.parts.rows import further_names, main_numbers, metric_rows
from effmed.evaluate.render.plots import make_plots
from effmed.evaluate.render.text import find_metric, judged, p_text, signed_text
from effmed.evaluate.render.words import CHAPTERS, WORDS
from effmed.evaluate.report import Table, make_report
from effmed.recipe import ColumnSettings
from tests.evaluate import make as tables_of
from tests.evaluate.render import make
from tests.evaluate.test_render import Reader

SECTIONS = ("images", "discrimination", "calibration", "decisions", "subgroups", "errors", "network", "methods")
SECTIONS += ("limits",)


@pytest.fixture(scope="module")
def two():
    return make.two()


@pytest.fixture(scope="module")
def three():
    return make.three()


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    return make.labels(tmp_path_factory.mktemp("labels"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two labels, which do not exclude each other, and no operating point."""
    table = pd.read_csv(make.VECTORS / "multilabel.csv")
    path = tmp_path_factory.mktemp("pair") / "pair.csv"
    table[["patient", "y_edema", "p_edema", "y_effusion", "p_effusion"]].to_csv(path, index=False)
    context = tables_of.context(2, calibrator=tables_of.identity(2), operating_points=())
    return make_report(read_predictions(path, ColumnSettings(), ()), context, make.settings(uncertain="zeros"))


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Mere scores, which no threshold makes probabilities."""
    table = pd.read_csv(make.VECTORS / "n500_imb.csv")[["y", "p_a"]].assign(score=lambda t: t["p_a"] * 10)
    path = tmp_path_factory.mktemp("scored") / "scored.csv"
    table[["y", "score"]].to_csv(path, index=False)
    context = tables_of.context(calibrator=tables_of.identity(), operating_points=())
    return make_report(read_predictions(path, ColumnSettings(), ()), context, make.FEW_DRAWS)


@pytest.fixture(scope="module")
def pages(two, three, labels, pair, scored):
    """Every kind of page, without the plots."""
    reports = {"two": two, "three": three, "labels": labels, "pair": pair, "scored": scored}
    return {name: render_page(report, []) for name, report in reports.items()}


def text_of(page):
    return re.sub(r"\s+", " ", "".join(Reader(page).text))


def chapter(page, name):
    return "<h2>" + page.split(f'<h2 id="{name}">')[1].split("</section>")[0]


def cells(grid):
    return [[cell.value for cell in row] for row in grid.rows]


# ---------------------------------------------------------------- every kind of page


KINDS = ("two", "three", "labels", "pair", "scored")


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_has_all_chapters_and_every_tag_closes(pages, kind):
    reader = Reader(pages[kind])
    ids = reader.values("id")
    assert set(SECTIONS) <= set(ids)
    assert len(ids) == len(set(ids))
    wanted = {each.removeprefix("#") for each in reader.values("href")}
    assert set(SECTIONS) <= wanted <= set(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_headings_descend_without_a_gap(pages, kind):
    levels = [int(tag[1]) for tag in Reader(pages[kind]).tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_shows_nan_or_none(pages, kind):
    assert not re.search(r"\b(nan|inf|None)\b", " ".join(Reader(pages[kind]).text))


@pytest.mark.parametrize("kind", KINDS)
def test_every_scroll_region_can_be_reached_by_keyboard_and_has_a_name(pages, kind):
    for tag in re.findall(r'<div class="scroll"[^>]*>', pages[kind]):
        assert 'tabindex="0" role="region" aria-label="' in tag


@pytest.mark.parametrize("kind", ["two", "three", "labels"])
def test_every_metric_of_all_images_stands_in_a_chapter_with_its_words(kind, request):
    report = request.getfixturevalue(kind)
    assert further_names(report) == ()
    assert {each.name for each in report.metrics} <= set(WORDS)


def test_mere_scores_are_ranked_and_the_page_says_what_is_missing(pages, scored):
    assert [plot.name for plot in make_plots(scored)] == ["roc", "precision-recall"]
    text = text_of(pages["scored"])
    assert "calibration cannot be judged" in text
    assert "so no decisions were evaluated" in text
    assert "Of mere scores no subgroups are evaluated" in text
    assert "so no image is called wrong" in text
    assert render_html(scored).count("<figure") == 2


def test_metrics_of_subgroups_do_not_mix_with_those_of_all_images(two):
    turned = two.model_copy(update={"metrics": two.metrics[::-1]})
    for report in (two, turned):
        (row,) = metric_rows(report, ("auroc",), ("calibrated",))
        assert row.basis == "134 of 399 images, 200 patients"
        assert row.cells[0].value == f"{find_metric(two, 'auroc', 'opacity').value:.3f}"


# ---------------------------------------------------------------- several labels


def test_two_labels_are_judged_one_by_one_and_not_as_two_classes(pair, pages):
    assert judged(pair) == ["edema", "effusion"]
    names = [plot.name for plot in make_plots(pair)]
    assert {"calibration-1", "calibration-2", "decision-curve-1", "decision-curve-2"} <= set(names)
    text = text_of(pages["pair"])
    assert "The class with the largest probability is called" not in text
    assert "No operating point was given, so no decisions were evaluated" in text
    assert "AUROC edema" in text
    assert {about for row in metric_rows(pair, ("auroc",), ("calibrated",)) for about in (row.about,)} == {
        "edema",
        "effusion",
    }


def test_the_page_of_labels_says_what_uncertain_and_blank_count_as(pages):
    assert "Uncertain labels count as absent, blank ones are left out." in text_of(pages["pair"])
    assert "Uncertain labels are left out, blank ones are left out." in text_of(pages["labels"])
    assert "Uncertain labels" not in chapter(pages["two"], "limits") + pages["two"].split("<main>")[0]


def test_labels_show_the_auroc_under_every_policy(labels, pages):
    grid = tables.policies_grid(labels)
    assert grid.heads == ("label", "they are left out (used here)", "they count as absent", "they count as present")
    declared = [row for row in tables.records(labels.tables["policies"]) if row["policy"] == "declared"]
    (auroc,) = [row["auroc"] for row in declared if row["class"] == "edema"]
    edema = next(row for row in grid.rows if row[0].value == "edema")
    assert edema[1].value == f"{auroc:.3f}"
    assert "91 of 301" in edema[1].below
    assert grid.caption in text_of(pages["labels"])


def test_labels_have_an_operating_point_each(labels, pages):
    grid = tables.points_grid(labels)
    assert [row[0].value for row in grid.rows] == labels.data.classes
    assert {row[1].value for row in grid.rows} == {"0.400"}
    assert "called from probability" in chapter(pages["labels"], "decisions")
    assert "is called opacity where its probability is at least" in text_of(pages["two"])


def test_labels_count_what_is_known_of_each(labels):
    grid = tables.classes_grid(labels)
    assert grid.heads == ("label", "present", "patients", "share of the known", "known", "uncertain", "blank")
    edema = next(row for row in grid.rows if row[0].value == "edema")
    assert [cell.value for cell in edema] == ["edema", "91", "76", "0.302", "301", "25", "94"]
    assert edema[3].below == "0.253 to 0.357"


def test_the_head_of_labels_has_the_auroc_of_each(labels):
    names = [word.label for word, _ in main_numbers(labels)]
    assert names[0] == "AUROC, macro average"
    assert names[-4:] == [f"AUROC {name}" for name in labels.data.classes]


def test_the_head_says_what_one_prediction_is_about(pages):
    assert "One prediction is about one image." in text_of(pages["two"])
    study = "One prediction is about one study (mean of logits): where this page counts images, it counts studies."
    assert study in text_of(pages["three"])


# ---------------------------------------------------------------- images


def test_the_flow_shows_what_is_part_of_what(two):
    steps = tables.flow_steps(two)
    assert [(step.name, step.depth) for step in steps[:4]] == [
        ("in the data", 0),
        ("left out: unreadable", 1),
        ("unreadable: not a picture", 2),
        ("used for training", 1),
    ]
    assert ("unreadable: broken", 1, 1, 2) in {(s.name, s.n_images, s.n_patients, s.depth) for s in steps}
    assert steps[-1].n_images == 399


def test_counts_are_whole_numbers_even_beside_empty_cells(two, pages):
    assert None in [step.n_patients for step in tables.flow_steps(two)]
    flow = pages["two"].split('<table class="flow">')[1].split("</table>")[0]
    assert '<td class="number">480</td>' in flow
    assert "." not in re.sub(r"<[^>]*>", "", flow)


# ---------------------------------------------------------------- decisions


def test_the_two_by_two_table_has_every_class(three):
    grid = tables.two_by_two_grid(three)
    assert [row[0].value for row in grid.rows] == three.data.classes
    counts = np.array(cells(grid))[:, 1:].astype(int)
    assert (counts.sum(axis=1) == 300).all()


def test_net_benefit_stands_with_its_gain_and_at_the_stated_prevalence(two, labels):
    grid = tables.net_benefit_grid(two)
    assert grid.heads[-2:] == ("gain over that", "at the stated prevalence")
    row = tables.records(two.tables["net_benefit"])[0]
    shown = grid.rows[0]
    assert [cell.value for cell in shown] == [
        "0.1",
        f"{row['net_benefit']:.3f}",
        f"{row['treat_all']:.3f}",
        signed_text(row["gain_over_all"]),
        signed_text(row["at_stated_prevalence"]),
    ]
    assert shown[-1].below == "prevalence 0.05"
    assert "at the stated prevalence" not in tables.net_benefit_grid(labels).heads


def test_sets_stand_with_their_rule_their_coverage_and_what_is_not_promised(two, pages):
    part = text_of(chapter(pages["two"], "decisions"))
    assert "at most 10.0 % of images of every class lack their class" in part
    assert "one per patient; not for subgroups, and not when images or prevalences shift" in part
    limits = tables.limits_grid(two)
    assert cells(limits)[0][1] == f"{1 - two.data.sets.limits[0]:.3f}"
    assert sum(int(row[1]) for row in cells(tables.sets_grid(two))) == 399
    assert "Coverage by subgroup" in part
    assert {row.about for row in metric_rows(two, CHAPTERS["sets"], ("calibrated",))} == {"", "clear", "opacity"}


def test_a_class_that_is_always_kept_is_called_so(two):
    sets = two.data.sets.model_copy(update={"limits": (1.0, 0.5)})
    wider = two.model_copy(update={"data": two.data.model_copy(update={"sets": sets})})
    assert [row[1] for row in cells(tables.limits_grid(wider))] == ["always", "0.500"]


def test_referral_stands_with_its_rule_and_what_came_of_it(two, pages):
    part = text_of(chapter(pages["two"], "decisions"))
    assert f"has a probability below {two.data.referral.certainty:.3f} are referred" in part
    assert "at most 5.0 % of the other decisions wrong" in part
    assert "wrong among the decided" in part


def test_where_nothing_is_certain_enough_the_page_says_that_everything_is_referred(two):
    referral = two.data.referral.model_copy(update={"certainty": None})
    none = two.model_copy(update={"data": two.data.model_copy(update={"referral": referral})})
    assert "Every image is referred to a person" in text_of(render_page(none, []))


def test_the_estimated_prevalence_stands_with_its_assumption(two, pages):
    part = text_of(chapter(pages["two"], "decisions"))
    assert "assumes that images of a class look as they do on val" in part
    assert cells(tables.prior_shift_grid(two))[1][0] == "shifted to the prevalence by EM"
    assert "but for the prevalence that was estimated" in text_of(pages["two"])
    assert "but for the prevalence that was estimated" not in text_of(pages["labels"])


# ---------------------------------------------------------------- subgroups


def test_groups_are_those_of_the_table_with_suppressed_ones_among_them(two):
    groups = {(group.column, group.value): group for group in groups_of(two, "opacity")}
    tiny, north = groups["site", "tiny"].measures["auroc"], groups["site", "north"].measures["auroc"]
    assert (tiny.value, tiny.status) == (None, "suppressed")
    metric = next(m for m in two.metrics if m.name == "auroc" and m.subgroup and m.subgroup.value == "north")
    assert (north.value, north.low, north.high) == (metric.value, metric.low, metric.high)


def test_groups_of_a_label_are_its_own(labels):
    for name in labels.data.classes:
        (female, *_) = groups_of(labels, name)
        known = next(m for m in labels.metrics if m.subgroup and (m.name, m.class_name) == ("auroc", name))
        assert (female.value, female.measures["auroc"].value) == (known.subgroup.value, known.value)
        assert (female.n_images, female.n_events) == (known.n, known.n_events)


def test_estimates_and_differences_of_subgroups_stand_beside_each_other(two, pages):
    estimates, differences = group_grids(two)
    row = next(row for row in differences.rows if row[0].value == "north")
    auroc = next(g for g in groups_of(two, "opacity") if g.value == "north").measures["auroc"]
    assert row[1].value == signed_text(auroc.difference)
    assert row[1].below.replace("\u00a0", " ").endswith(f"p = {auroc.p_holm:.3f}")
    tiny = next(row for row in estimates.rows if row[0].value == "tiny")
    assert (tiny[2].value, tiny[2].below) == ("suppressed", "fewer than 10 events")
    part = text_of(chapter(pages["two"], "subgroups"))
    assert "the group minus all other images of the same column" in part
    assert "over all differences of the same measure, of all columns" in part


def test_heterogeneity_names_the_groups_that_were_left_out(two, pages):
    grid = heterogeneity_grid(two)
    site = next(row for row in grid.rows if row[0].value == "site")
    assert (site[1].value, site[1].below) == ("2", "without tiny")
    assert grid.caption in text_of(pages["two"])


def test_without_subgroups_the_page_says_which_columns_would_be_used(tmp_path):
    report = make_report(tables_of.binary(30), tables_of.context(), make.FEW_DRAWS)
    page = render_page(report, [])
    assert ABSENT in text_of(page)
    assert "sex, age, site, scanner, view" in ABSENT
    assert heterogeneity_grid(report) is None


def test_metrics_as_csv_keep_their_subgroup(two, tmp_path, monkeypatch):
    monkeypatch.setattr("effmed.evaluate.render.files.make_plots", lambda _: [])
    write_report(two, tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "tables" / "metrics.csv").read_text())))
    assert [(row["subgroup_column"], row["subgroup_value"]) for row in rows] == [
        ("", "") if each.subgroup is None else (each.subgroup.column, each.subgroup.value) for each in two.metrics
    ]
    assert ("site", "north") in {(row["subgroup_column"], row["subgroup_value"]) for row in rows}


# ---------------------------------------------------------------- errors


def test_errors_are_listed_as_in_the_tables(two, pages):
    positives, negatives = error_lists(two)
    table = tables.records(two.tables["worst_false_positives"])
    assert [(each.image, each.probability) for each in positives.wrong] == [
        (row["image"], row["probability"]) for row in table
    ]
    assert {each.truth for each in negatives.wrong} == {"opacity"}
    assert all(each.image in chapter(pages["two"], "errors") for each in (*positives.wrong, *negatives.wrong))
    assert "<img" not in pages["two"]


def test_pictures_stand_beside_their_images_and_the_footer_warns(two):
    png = b"\x89PNG of it"
    image, frame = named_images(two)[0]
    page = render_page(two, [], {(image, frame): png, ("unknown.png", 0): b"never"})
    reader = Reader(page)
    assert reader.values("alt") == [f"thumbnail of image {image}"]
    kind, _, data = reader.values("src")[0].partition(",")
    assert (kind, base64.b64decode(data)) == ("data:image/png;base64", png)
    assert "It shows pictures: do not share it." in page
    assert "It shows pictures" not in render_page(two, [])


def test_where_pictures_would_make_the_page_too_large_the_worst_errors_keep_theirs(three):
    large = {name: bytes(MAX_PICTURE_BYTES // 12) for name in named_images(three)}
    lists = error_lists(three, large)
    shown = [[bool(each.picture) for each in listed.wrong] for listed in lists]
    assert all(row[0] for row in shown)
    assert not any(row[-1] for row in shown)
    assert sum(len(each.picture) for listed in lists for each in listed.wrong) <= MAX_PICTURE_BYTES


def test_a_frame_is_named_behind_its_file():
    report = make_report(tables_of.binary(30, frame=np.arange(30)), tables_of.context(), make.FEW_DRAWS)
    (first, *_), frames = error_lists(report)[0].wrong, dict(named_images(report))
    assert first.image.endswith(f"#{frames[first.image.split('#')[0]]}")


# ---------------------------------------------------------------- words and numbers


@pytest.mark.parametrize(("p", "text"), [(None, "–"), (0.0004, "< 0.001"), (0.25, "0.250")])
def test_p_values_read_well(p, text):
    assert p_text(p) == text


def test_records_of_an_absent_table_are_none():
    assert tables.records(None) == []
    assert tables.records(Table(columns=["images", "x"], rows=[[3.0, 3.0]])) == [{"images": 3, "x": 3.0}]


@pytest.mark.parametrize(("limits", "below"), [((0.1, 0.2), "0.100\u00a0to\u00a00.200"), ((None, None), "why not")])
def test_a_cell_has_its_interval_or_the_reason_why_not(limits, below):
    assert tables.interval_cell(0.15, *limits, note="why not").below == below
