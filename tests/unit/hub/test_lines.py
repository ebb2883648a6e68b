"""Text in pieces becomes lines whose places are known."""

from __future__ import annotations

import tracemalloc
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.hub import lines
from moorage.hub.lines import Line, LineCutter


def cut(text: bytes, sizes: list[int], position: int = 0, number: int = 0) -> list[Line]:
    cutter = LineCutter(position, number)
    found: list[Line] = []
    for size in sizes:
        found += cutter.feed(text[:size])
        text = text[size:]
    return [*found, *cutter.feed(text), *cutter.finish()]


@given(st.binary(max_size=200).map(lambda text: text.replace(b"a", b"\n")), st.lists(st.integers(0, 20), max_size=20))
def test_however_it_is_cut_up_the_lines_are_those_of_the_whole(text: bytes, sizes: list[int]) -> None:
    found = cut(text, sizes)
    expected = text.split(b"\n")
    assert [line.text for line in found] == (expected if expected[-1] else expected[:-1])
    assert [line.number for line in found] == list(range(1, len(found) + 1))
    # Reading goes on behind any line.
    for line in found:
        assert cut(text[line.end :], sizes, line.end, line.number) == found[line.number :]
    assert not found or found[-1].end == len(text)


def test_a_line_that_is_too_long_is_told_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 5)
    text = b"12345\n123456\nok\n" + b"x" * 20
    for sizes in ([], [3] * 10, [1] * 40):
        assert [(line.text, line.end) for line in cut(text, sizes)] == [
            (b"12345", 6),
            (None, 13),
            (b"ok", 16),
            (None, 36),
        ]


def test_lines_are_cut_as_they_are_asked_for_so_a_piece_of_nothing_but_ends_holds_up_nobody() -> None:
    piece = b"\n" * 1024 * 1024
    tracemalloc.start()
    try:
        few = list(islice(LineCutter().feed(piece), 100))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert few[-1] == Line(100, 100, b"")
    assert most < 100_000
