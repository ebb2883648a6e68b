"""PKITS whole, x509-limbo where its file is given; `make conformance` runs and writes all of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conformance.__main__ import main
from tests.conformance.limbo import NotAvailable
from tests.conformance.pkits import shown_by_a_ca
from tests.conformance.suites import MUTANTS, honest, run, run_pkits

LIMBO = os.environ.get("LIMBO_JSON")


def test_pkits() -> None:
    score = run_pkits(honest)
    assert score.problems == []
    assert score.total == 161
    assert len(score.waived) == 5 and not score.left_out


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_fails_pkits(mutant: str) -> None:
    assert len(run_pkits(MUTANTS[mutant]).problems) > 50


def test_where_pkits_shows_a_ca_everything_but_that_is_right() -> None:
    cases = list(shown_by_a_ca())
    assert len(cases) == 7
    assert [name for name, must_succeed, verdict in cases if must_succeed is not (verdict == "")] == []


def test_a_missing_file_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.json")]) == 1
    assert "make conformance LIMBO_JSON=FILE" in capsys.readouterr().out
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(NotAvailable):
        run(tmp_path / "other.json", honest)


def test_an_empty_suite_fails(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text('{"testcases": []}')
    assert run(tmp_path / "empty.json", honest)[0].problems == ["no case was run"]


@pytest.mark.skipif(LIMBO is None, reason="LIMBO_JSON names no compiled x509-limbo file")
def test_limbo() -> None:
    score = run(Path(LIMBO or ""), honest)[0]
    assert score.problems == []
