"""PKITS whole, x509-limbo where its file is given; `make conformance` runs and writes all of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from moorage.pki.policy import MAX_CERTIFICATES
from tests import certs
from tests.conformance.__main__ import main
from tests.conformance.limbo import WAIVERS, NotAvailable
from tests.conformance.pkits import shown_by_a_ca
from tests.conformance.score import MAX_WAIVERS
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


def _with_strangers(name: str, count: int) -> dict[str, Any]:
    """A case as x509-limbo has it: a good leaf, and beside it `count` CAs that have nothing to do with it."""
    anchor = certs.root("Bridge")
    strangers = [certs.root(f"Stranger {number}", label="strangers").certificate.pem for number in range(count)]
    return {
        "id": name,
        "expected_result": "SUCCESS",
        "expected_peer_name": None,
        "validation_kind": "CLIENT",
        "extended_key_usage": [],
        "validation_time": certs.NOW.isoformat(),
        "max_chain_depth": None,
        "peer_certificate": certs.device(anchor, "pump-01").certificate.pem,
        "untrusted_intermediates": strangers,
        "trusted_certs": [anchor.certificate.pem],
        "crls": [],
    }


def test_the_bridges_of_bettertls_send_too_much_and_are_waived(tmp_path: Path) -> None:
    bridges = [_with_strangers(f"bettertls::pathbuilding::tc{number}", 37) for number in range(61, 69)]
    fits = _with_strangers("bettertls::pathbuilding::tc9", MAX_CERTIFICATES - 1)
    (tmp_path / "limbo.json").write_text(json.dumps({"testcases": [*bridges, fits]}))
    score = run(tmp_path / "limbo.json", honest)[0]
    assert score.problems == []
    assert (score.accepted, list(score.waived)) == (1, [each["id"] for each in bridges])


def test_every_case_that_is_waived_together_stays_within_what_is_allowed() -> None:
    assert len(WAIVERS) <= MAX_WAIVERS


@pytest.mark.skipif(LIMBO is None, reason="LIMBO_JSON names no compiled x509-limbo file")
def test_limbo() -> None:
    score = run(Path(LIMBO or ""), honest)[0]
    assert score.problems == []
