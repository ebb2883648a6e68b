"""Answers of the data explorer as CSV: a row for each bucket, a column for each line."""

from __future__ import annotations

from moorage.analytics.explorer import Answer
from moorage.dialects.csv_text import csv_lines

__all__ = ["answer_csv"]


def answer_csv(answer: Answer) -> str:
    """A value that is not there is an empty field."""
    head = ["time", *(f"{line.label} ({line.measure.aggregate})" for line in answer.lines)]
    rows = [
        [time.isoformat(), *("" if line.values[at] is None else repr(line.values[at]) for line in answer.lines)]
        for at, time in enumerate(answer.times)
    ]
    return csv_lines([head, *rows])
