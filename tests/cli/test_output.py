import io
import json

import pytest
from rich.console import Console
from rich.table import Table

from effmed.cli.output import Output, make_bars, make_table
from effmed.errors import DataError


@pytest.fixture
def spoken(capsys):
    """Call the output in its three forms and return what each wrote to stdout and stderr."""

    def speak(call):
        found = {}
        for name, options in (("human", {}), ("json", {"as_json": True}), ("quiet", {"quiet": True})):
            call(Output(**options))
            read = capsys.readouterr()
            found[name] = (read.out, read.err)
        return found

    return speak


def test_talk_goes_to_stderr_and_is_silenced_by_quiet(spoken):
    found = spoken(lambda output: output.say("hello [b]"))
    assert found == {"human": ("", "hello [b]\n"), "json": ("", "hello [b]\n"), "quiet": ("", "")}


def test_a_warning_is_marked(spoken):
    found = spoken(lambda output: output.warn("careful"))
    assert found["human"] == ("", "warning: careful\n")
    assert found["quiet"] == ("", "")


def test_a_result_goes_to_stdout_in_one_of_two_forms(spoken):
    found = spoken(lambda output: output.result({"n": 1}, "one thing"))
    assert found["human"] == ("one thing\n", "")
    assert json.loads(found["json"][0]) == {"n": 1}
    assert found["quiet"] == ("one thing\n", "")


def test_an_error_is_two_lines_even_when_quiet(spoken):
    found = spoken(lambda output: output.error(DataError("x is wrong", hint="do y")))
    assert {err for _, err in found.values()} == {"error: x is wrong\nhint: do y\n"}


def test_without_a_terminal_progress_is_a_line_per_quarter(spoken):
    def count(output):
        for done in range(1, 9):
            output.progress("decoding", done, 8)

    found = spoken(count)
    assert found["human"][1].splitlines() == [f"decoding: {n}/8" for n in (2, 4, 6, 8)]
    assert found["quiet"][1] == ""


def test_the_line_per_epoch_stands_for_the_progress_of_training(spoken):
    assert spoken(lambda output: output.progress("training", 1, 1))["human"][1] == ""


def test_nothing_to_do_is_no_progress(spoken):
    assert spoken(lambda output: output.progress("decoding", 0, 0))["human"][1] == ""


def test_on_a_terminal_progress_is_a_bar(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    output = Output()
    output.progress("decoding", 1, 2)
    output.progress("decoding", 2, 2)
    output.close()
    assert "decoding" in capsys.readouterr().err


@pytest.fixture
def drawn():
    """Draw a bar of 100 on a terminal of so many columns, 20 seconds after it began at ``begun``."""

    def draw(width, *, begun, done, note):
        now, text = [0.0], io.StringIO()
        bars = make_bars(Console(file=text, force_terminal=True, width=width, color_system=None))
        bars.get_time = lambda: now[0]
        task = bars.add_task("training", total=100, completed=begun, begun=begun, note="")
        now[0] = 20.0
        bars.update(task, completed=done, note=note)
        bars.console.print(bars.get_renderable())
        return text.getvalue().splitlines()

    return draw


def test_a_bar_tells_the_time_left_and_the_note_below(drawn):
    lines = drawn(80, begun=0, done=25, note="loss 0.5, 212 images/s")
    assert lines[0].startswith("training ")
    assert lines[0].rstrip().endswith("25/100 0:01:00 left")
    assert lines[1].rstrip() == "  loss 0.5, 212 images/s"


def test_what_was_done_before_a_training_was_continued_took_no_time_now(drawn):
    assert "0:02:30 left" in drawn(80, begun=15, done=25, note="")[0]


def test_no_time_is_promised_before_anything_moved(drawn):
    lines = drawn(80, begun=15, done=15, note="")
    assert "time left unknown" in lines[0]
    assert len(lines) == 1


def test_a_long_note_is_not_cut_off_on_a_narrow_terminal(drawn):
    note = "epoch 2 of 20, loss 0.4121, val auroc 0.8735 (0.812 to 0.921), 212 images/s, loader wait 3%, 1.2 GB"
    assert "".join(each.strip() + " " for each in drawn(60, begun=0, done=5, note=note)[1:]).strip() == note


def test_a_note_is_for_terminals(spoken):
    found = spoken(lambda output: output.progress("decoding", 8, 8, "loss 0.5"))
    assert found["human"][1] == "decoding: 8/8\n"
    assert found["quiet"][1] == ""


def test_colour_can_be_refused(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    Output().warn("careful")
    assert "\x1b[33m" not in capsys.readouterr().err


def test_a_table_shows_nothing_as_a_dash():
    table = make_table("t", ("name", "n"), [("a", 1), ("b", None)])
    assert isinstance(table, Table)
    assert list(table.columns[1].cells) == ["1", "–"]
    assert [column.justify for column in table.columns] == ["left", "right"]
