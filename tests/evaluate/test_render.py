"""The page, plots and tables of a report."""

import csv
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from effmed.errors import MachineError
from effmed.evaluate.render import files, render_html, write_report
from effmed.evaluate.render import page as pages
from effmed.evaluate.render.files import csv_text
from effmed.evaluate.render.parts.rows import method_text, methods, metric_rows
from effmed.evaluate.render.parts.tables import confusion_rows
from effmed.evaluate.render.plots import MAX_CLASSES, columns_of, inline_svg, make_plots
from effmed.evaluate.render.text import cell_text, metric_text, number_text, short
from effmed.evaluate.render.words import CALIBRATION, CHAPTERS, DECISIONS, DISCRIMINATION, WORDS, word
from effmed.evaluate.report import Metric, Report, Table, make_report
from effmed.recipe import ReportSettings
from tests.evaluate import make

FEW_DRAWS = ReportSettings(bootstrap_replicates=100)
HOSTILE = ("clear", "<script>alert(1)</script>", "$5$ & _x 肺")
VOID = {"meta", "br", "hr", "img", "link", "input"}
MAX_BYTES = 3_000_000


@pytest.fixture(scope="module")
def two():
    return make_report(make.binary(60, failures={4: ("broken", "mend it")}), make.context(), FEW_DRAWS)


@pytest.fixture(scope="module")
def two_plots(two):
    return make_plots(two)


@pytest.fixture(scope="module")
def two_page(two, two_plots):
    return pages.render_page(two, two_plots)


@pytest.fixture(scope="module")
def three():
    return make_report(make.several(45, classes=HOSTILE), make.context(3), FEW_DRAWS)


@pytest.fixture(scope="module")
def three_plots(three):
    return make_plots(three)


@pytest.fixture(scope="module")
def three_page(three, three_plots):
    return pages.render_page(three, three_plots)


@pytest.fixture(scope="module")
def one_class():
    """A test split without any positive image."""
    return make_report(make.binary(12, label=["clear"] * 12), make.context(), FEW_DRAWS)


@pytest.fixture(scope="module")
def one_class_page(one_class):
    return render_html(one_class)


@pytest.fixture(scope="module")
def undecided():
    """Another program's probabilities: no calibrator, no operating point, no patient."""
    table = make.binary(40, point=None, calibrator=make.identity, patient=None)
    context = make.context(calibrator=make.identity(), operating_points=(), facts={})
    return make_report(table, context, FEW_DRAWS)


@pytest.fixture(scope="module")
def undecided_page(undecided):
    return render_html(undecided)


@pytest.fixture(scope="module")
def folder(two, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "run"
    write_report(two, folder)
    return folder


class Reader(HTMLParser):
    """Collects what a browser would see, and fails on tags that do not close."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *each) for each in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *each) for each in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def values(self, name):
        return [value for _, key, value in self.attributes if key == name]


def metric(**changes):
    values = {"name": "auroc", "class_name": "x", "stage": "calibrated", "value": 0.5, "low": 0.25, "high": 0.75}
    values |= {"method": "m", "unit": "image", "n": 4, "n_events": 2, "n_patients": None, "status": "ok", "reason": ""}
    return Metric(**(values | changes))


# ---------------------------------------------------------------- the page


@pytest.mark.parametrize("page", ["two_page", "three_page", "one_class_page"])
def test_every_tag_of_the_page_closes(page, request):
    Reader(request.getfixturevalue(page))


@pytest.mark.parametrize("page", ["two_page", "three_page"])
def test_no_id_stands_twice_on_the_page(page, request):
    ids = Reader(request.getfixturevalue(page)).values("id")
    assert len(ids) == len(set(ids))


def test_every_reference_inside_the_page_leads_somewhere(two_page):
    reader = Reader(two_page)
    ids = set(reader.values("id"))
    wanted = [each.removeprefix("#") for each in (*reader.values("href"), *reader.values("xlink:href"))]
    wanted += re.findall(r"url\(#([^)]+)\)", two_page) + reader.values("aria-labelledby")
    assert set(wanted) <= ids


def test_the_page_loads_nothing(two_page):
    reader = Reader(two_page)
    assert not {"script", "link", "img", "iframe"} & set(reader.tags)
    assert "@import" not in two_page
    assert all(value.startswith("#") for value in reader.values("href"))


def test_the_page_is_small(three_page):
    assert len(three_page.encode()) < MAX_BYTES


def test_the_page_begins_with_the_main_result_and_its_interval(two, two_page):
    assert two.data.summary in "".join(Reader(two_page).text)
    assert re.search(r"AUROC for 'opacity' 0\.\d\d \(95 % interval", two.data.summary)


def test_the_page_shows_every_warning(two, two_page):
    text = "".join(Reader(two_page).text)
    assert two.data.warnings
    assert all(warning in text for warning in two.data.warnings)


def test_class_names_are_escaped(three_page):
    reader = Reader(three_page)
    assert "script" not in reader.tags
    assert HOSTILE[1] in "".join(reader.text)


def test_a_class_name_with_dollars_is_no_formula(three_plots):
    texts = ElementTree.fromstring(three_plots[0].svg).itertext()  # noqa: S314  our own
    assert any(HOSTILE[2] in text for text in texts)


def test_facts_are_escaped():
    context = make.context(facts={"<b>net</b>": "<i>b0</i>"})
    page = pages.render_page(make_report(make.binary(24), context, FEW_DRAWS), [])
    assert not {"b", "i"} & set(Reader(page).tags)


def holding(folder, secret):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name for path in files if secret.encode() in path.read_bytes()}


def test_no_patient_is_in_any_file(folder):
    assert holding(folder, "PAT-") == set()


def test_images_are_named_in_the_lists_of_errors_alone(folder, two_page):
    lists = {"worst_false_positives.csv", "worst_false_negatives.csv"}
    assert holding(folder, "secret/") == {"report.json", "report.html", *lists}
    before, after = two_page.split('<h2 id="errors">')
    assert "secret/" not in before + after.split("</section>")[1]
    assert "names images in its list of errors" in two_page


def test_without_a_list_of_errors_no_file_names_an_image(tmp_path):
    silent = FEW_DRAWS.model_copy(update={"n_worst": 0})
    write_report(make_report(make.binary(30), make.context(), silent), tmp_path)
    assert holding(tmp_path, "secret/") == set()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The report names no image" in page
    assert "No image is listed" in page


def test_every_plot_has_an_alternative_text(two_page, two_plots):
    reader = Reader(two_page)
    assert reader.tags.count("figure") == len(two_plots)
    assert reader.values("aria-labelledby").count("roc-caption") == 1
    assert all(plot.caption in "".join(reader.text) for plot in two_plots)


def test_every_column_and_row_of_a_table_has_a_header(two_page):
    assert set(Reader(two_page).values("scope")) == {"col", "row"}
    assert "<td" not in re.sub(r"(?s)<tbody>.*?</tbody>", "", two_page)


def test_the_page_says_that_it_is_no_medical_device(two_page):
    assert "Not a medical device" in two_page


def test_the_page_names_the_method_of_every_interval(two, two_page):
    text = "".join(Reader(two_page).text)
    assert all(method_text(each.method) in text for each in two.metrics if each.low is not None)


def test_methods_of_one_kind_stand_together():
    assert method_text("Wilson, effective n 155.2, t(119)") == method_text("Wilson, effective n 9.0, t(7)")
    assert method_text("bootstrap, percentile, 100 replicates") == "bootstrap, percentile, 100 replicates"


def test_every_metric_of_the_report_is_on_the_page(two, two_page):
    text = "".join(Reader(two_page).text)
    assert all(metric_text(each, limits=False) in text for each in two.metrics)


def test_calibration_stands_before_and_after(two_page):
    assert "before calibration" in two_page
    assert "after calibration" in two_page


def test_calibration_errors_stand_beside_their_null_band(two_page):
    assert (
        len(re.findall(r"if perfectly calibrated below 0\.\d{3}", two_page))
        == len(("smece", "ece", "ici", "e90", "miscalibration")) * 2
    )


def test_one_stage_is_shown_where_calibration_changed_nothing(undecided_page):
    assert "before calibration" not in undecided_page
    assert "as evaluated" in undecided_page


def test_without_patients_the_page_says_that_images_were_independent(undecided_page):
    assert "images were treated as independent" in undecided_page


def test_without_an_operating_point_the_page_says_that_nothing_was_decided(undecided_page):
    assert "no decisions were evaluated" in undecided_page


def test_without_positive_images_the_page_says_why_there_is_no_auroc(one_class_page):
    text = "".join(Reader(one_class_page).text)
    assert "not estimable" in text
    assert "there is no positive image" in text


def test_without_positive_images_the_page_says_why_there_is_no_curve(one_class_page):
    assert "No curve: images of a class and of other classes are needed." in one_class_page


def test_no_number_of_the_page_is_nan_or_infinite(one_class_page, two_page):
    assert not re.search(r"\b(nan|inf|None)\b", " ".join(Reader(one_class_page + two_page).text))


def test_a_metric_that_no_chapter_names_is_still_shown(two):
    later = two.model_copy(update={"metrics": [*two.metrics, metric(name="new_measure", class_name=None)]})
    assert '<th scope="row">new measure' in pages.render_page(later, [])


def test_every_metric_that_reports_make_has_its_words(two, three):
    assert {each.name for each in (*two.metrics, *three.metrics)} <= set(WORDS)
    assert {*DISCRIMINATION, *CALIBRATION, *DECISIONS} <= set(WORDS)
    assert {name for names in CHAPTERS.values() for name in names} == set(WORDS)


def test_classes_beyond_the_drawn_ones_are_named_as_such(three):
    classes = [*HOSTILE, *(f"grade {number}" for number in range(MAX_CLASSES - len(HOSTILE) + 2))]
    wider = three.model_copy(update={"data": three.data.model_copy(update={"classes": classes})})
    assert "2 further classes are in the tables only" in pages.render_page(wider, [])


def test_the_page_shows_every_reason(two, one_class, two_page, one_class_page):
    for report, page in ((two, two_page), (one_class, one_class_page)):
        notes = " ".join(re.findall(r'class="note">([^<]*)<', page))
        assert all(each.reason in notes for each in report.metrics)


# ---------------------------------------------------------------- the parts of the page


def test_an_unknown_metric_stands_for_itself():
    assert word("new_measure").label == "new measure"


def test_rows_come_per_metric_with_all_classes_first(three):
    rows = metric_rows(three, ("brier",), ("calibrated",))
    assert [row.about for row in rows] == ["", *HOSTILE]


def test_a_stage_that_a_metric_lacks_is_an_empty_cell(two):
    (row,) = metric_rows(two, ("auroc",), ("raw", "calibrated"))
    assert row.cells[0].value == ""
    assert row.cells[1].value != ""


def test_a_row_names_events_images_and_patients(two):
    (row,) = metric_rows(two, ("auroc",), ("calibrated",))
    assert row.basis == "20 of 59 images, 30 patients"


def test_a_method_is_named_once_with_all_its_metrics(two):
    found = dict(methods(two))
    assert found["bootstrap of patients, percentile, 100 replicates"].startswith(
        "average precision (AP), partial AUROC"
    )


def test_confusion_rows_hold_counts_and_shares():
    table = Table(columns=["truth", "decided a", "decided b"], rows=[["a", 3, 1], ["b", 0, 0]])
    assert confusion_rows(table) == [("a", [(3, "75%"), (1, "25%")]), ("b", [(0, "–"), (0, "–")])]


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.12345, "0.123"), (1200, "1,200"), ("x", "x")])
def test_cells_read_well(value, text):
    assert cell_text(value) == text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "0.500 (0.250 to 0.750)"),
        ({"low": None, "high": None}, "0.500"),
        ({"value": None, "low": None, "high": None, "status": "not_estimable"}, "not estimable"),
        ({"value": None, "low": None, "high": None, "status": "suppressed"}, "suppressed"),
    ],
)
def test_a_metric_reads_well(changes, text):
    assert metric_text(metric(**changes)) == text


@pytest.mark.parametrize(("value", "text"), [(-0.00001, "0.000"), (-0.5, "−0.500"), (1.0, "1.000")])
def test_numbers_have_a_true_minus_and_no_negative_zero(value, text):
    assert number_text(metric(), value) == text


def test_ratios_have_two_decimals():
    assert number_text(metric(name="lr_positive"), 12.3456) == "12.35"


def test_a_long_class_name_is_shortened_for_legends():
    names = [f"opacity of the right upper lobe, grade {grade}" for grade in (1, 2)]
    assert short(names[0]) == "opacity of the righ…obe, grade 1"
    assert len({short(name) for name in names}) == 2
    assert short("x" * 32) == "x" * 32


# ---------------------------------------------------------------- plots


def test_two_classes_have_these_plots(two_plots):
    names = ["roc", "precision-recall", "calibration-1", "histogram-1", "decision-curve", "risk-coverage"]
    assert [plot.name for plot in two_plots] == names


def test_several_classes_have_a_calibration_plot_each(three_plots):
    assert [plot.name for plot in three_plots if plot.name.startswith("calibration")] == [
        f"calibration-{number}" for number in (1, 2, 3)
    ]


def test_without_positive_images_no_curve_of_the_class_is_drawn(one_class):
    assert [plot.name for plot in make_plots(one_class)] == ["calibration-1", "histogram-1", "risk-coverage"]


def test_plots_are_the_same_bytes_every_time(two_plots, folder):
    for plot in two_plots:
        assert (folder / "plots" / f"{plot.name}.svg").read_bytes() == plot.svg
        assert (folder / "plots" / f"{plot.name}.png").read_bytes() == plot.png


def test_every_svg_is_well_formed(two_plots, three_plots):
    assert {ElementTree.fromstring(plot.svg).tag for plot in (*two_plots, *three_plots)} == {  # noqa: S314  our own
        "{http://www.w3.org/2000/svg}svg"
    }


def test_text_in_an_svg_stays_text(two_plots):
    texts = ElementTree.fromstring(two_plots[0].svg).iter("{http://www.w3.org/2000/svg}text")  # noqa: S314  our own
    assert "1 − specificity" in [text.text for text in texts]


def test_plots_hold_no_date(two_plots):
    assert not [plot.name for plot in two_plots if b"dc:date" in plot.svg]


def test_an_inline_svg_has_no_prolog(two_plots):
    assert inline_svg(two_plots[0]).startswith('<svg role="img" aria-labelledby="roc-caption"')


def test_the_caption_names_the_operating_point(two, two_plots):
    sensitivity = next(each.value for each in two.metrics if each.name == "sensitivity")
    assert f"operating point: sensitivity {sensitivity:.2f}" in two_plots[0].caption


def test_columns_are_chosen_by_class():
    table = Table(columns=["class", "x"], rows=[["a", 1.0], ["b", 2.0], ["a", None]])
    found = columns_of(table, **{"class": "a"})["x"]
    assert found[0] == 1.0
    assert found[1] != found[1]


# ---------------------------------------------------------------- files


def test_the_folder_holds_page_json_plots_and_tables(two, folder, two_plots):
    names = {str(path.relative_to(folder)) for path in folder.rglob("*.*")}
    wanted = {"report.json", "report.html", "tables/metrics.csv", "tables/checklist.csv"}
    wanted |= {f"tables/{name}.csv" for name in two.tables}
    assert names == wanted | {f"plots/{plot.name}.{kind}" for plot in two_plots for kind in ("svg", "png")}


def test_the_json_is_the_report(two, folder):
    assert Report.model_validate_json((folder / "report.json").read_text()) == two


def test_the_json_calls_the_class_class(folder):
    assert json.loads((folder / "report.json").read_text())["metrics"][0]["class"] == "opacity"


def test_the_written_page_is_the_rendered_one(two_page, folder):
    assert (folder / "report.html").read_text(encoding="utf-8") == two_page


def test_the_metrics_table_has_a_row_per_metric(two, folder):
    with (folder / "tables" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["class"], row["stage"]) for row in rows] == [
        (each.name, each.class_name or "", each.stage) for each in two.metrics
    ]


def test_png_files_are_pictures(folder):
    assert (folder / "plots" / "roc.png").read_bytes().startswith(b"\x89PNG")


def test_csv_text_quotes_and_leaves_empty():
    assert csv_text(["a", "b"], [["x,y", None], [1, 0.5]]) == 'a,b\n"x,y",\n1,0.5\n'


def test_a_folder_that_cannot_be_written_is_an_error_of_the_machine(two, tmp_path, monkeypatch):
    (tmp_path / "report.html").mkdir()
    monkeypatch.setattr(files, "make_plots", lambda _: [])
    with pytest.raises(MachineError, match=r"report\.html could not be written"):
        write_report(two, tmp_path)
