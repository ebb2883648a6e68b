"""What reaches the operator's terminal."""

from __future__ import annotations

import json
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.cli.output import escape, moment, print_json, print_refusal, print_table
from moorage.errors import NotFound


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pump-01", "pump-01"),
        ("Düsenstraße 7 – 温度", "Düsenstraße 7 – 温度"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202edef", "abc\\u202edef"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\U000e0041", "\\U000e0041"),
        (17, "17"),
    ],
)
def test_what_a_terminal_would_act_on_is_written_out(text: object, shown: str) -> None:
    assert escape(text) == shown


@given(st.text())
def test_nothing_escaped_can_move_the_cursor(text: str) -> None:
    assert escape(text).isprintable()


def test_a_refusal_says_reason_message_and_fix_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    print_refusal(NotFound("ca.unknown", "no CA named 'x\x1b[0m'", fix="moorage ca list"), as_json=False)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "ca.unknown: no CA named 'x\\x1b[0m'\n  fix: moorage ca list\n"


def test_a_refusal_is_json_when_json_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    print_refusal(NotFound("ca.unknown", "no CA named 'x'"), as_json=True)
    assert json.loads(capsys.readouterr().err) == {"error": {"reason": "ca.unknown", "message": "no CA named 'x'"}}


def test_json_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": "温\n\x1b"})
    line = capsys.readouterr().out
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line) == {"a": "温\n\x1b"}


def test_a_table_in_a_pipe_is_tab_separated_and_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["device", "status"], [["a\tb", "on"], ["c", None]])
    assert capsys.readouterr().out == "device\tstatus\na\\tb\ton\nc\t\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0001-01-01T00:00:00Z", "never"),
        ("2026-03-01T10:20:30.1234567Z", "2026-03-01T10:20:30Z"),
        ("2026-03-01T10:20:30Z", "2026-03-01T10:20:30Z"),
    ],
)
def test_a_time_in_a_table_is_to_the_second(text: str, shown: str) -> None:
    assert moment(text) == shown


@pytest.mark.parametrize(
    ("columns", "shown", "left_out"),
    [
        ("40", ["device", "kind", "status"], ""),
        ("24", ["device", "status"], "kind"),
        ("12", ["device"], "kind, status"),
    ],
)
def test_a_narrow_terminal_loses_columns_and_folds_nothing(
    columns: str,
    shown: list[str],
    left_out: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    row = {"device": "温度-sensor", "kind": "certificate", "status": "enabled"}
    print_table(list(row), [list(row.values())], dispensable=["kind", "status"])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert [line.split() for line in lines[:2]] == [shown, [row[name] for name in shown]]
    assert lines[2:] == ([f"No room for: {left_out}"] if left_out else [])


def test_a_narrow_terminal_asks_for_no_column_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm")
    print_table(["deviceId", "x"], [["d" * 30, "1"]], dispensable=["tags", "x", "auth"])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert "".join(lines[1:-1]).replace(" ", "") == "d" * 30
    assert lines[-1] == "No room for: x"
