"""docs/security.md names files that are there, cases that there are, and constants of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.attacks.chapters import TABLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
FILES = sorted(set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", PAGE)))


def test_every_case_that_it_names_is_in_the_table() -> None:
    named = set(re.findall(r"A-[0-9]+", PAGE))
    assert len(named) > 20
    assert sorted(named - {case.number for case in TABLE}) == []


@pytest.mark.parametrize("file", FILES)
def test_every_file_that_it_names_is_there(file: str) -> None:
    assert (ROOT / file).exists() or (ROOT / "src" / "moorage" / file).exists()


def test_it_fits_on_three_pages() -> None:
    assert len(FILES) > 8
    assert len(PAGE.split()) < 1700
