"""CSV for spreadsheets: nothing runs, nothing breaks a line, numbers stay numbers."""

from __future__ import annotations

import csv
import io

import pytest

from moorage.dialects.csv_text import csv_cell, csv_lines


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1", " =1", "\r\n=1"])
def test_what_a_spreadsheet_would_run_is_text(text: str) -> None:
    assert csv_cell(text)[0] == "'"


@pytest.mark.parametrize("text", ["-40.5", "+3", "1e9", "pump-01", "", "a=b", "2026-11-23T12:00:00Z"])
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert csv_cell(text) == text


def test_a_cell_ends_neither_its_line_nor_its_column() -> None:
    rows = [["a,b", 'say "hi"', "two\r\nlines"], ["\u202eevil", "", "x"]]
    assert list(csv.reader(io.StringIO(csv_lines(rows)))) == [
        ["a,b", 'say "hi"', "two lines"],
        ["\\u202eevil", "", "x"],
    ]
