import json

import pytest
from rich.table import Table

from effmed.cli.output import Output, make_table
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
