"""A claim about a client holds only when the calls of its test show it, and the page says what the record says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripts import compatibility as page

from tests.compatibility import TABLES, Result, lacks, proves

ROOT = Path(__file__).parent.parent.parent
pytest_plugins = ["pytester"]

CLAIMS = """
from tests.compatibility import breaks, lacks, proves, refuses, watched

CLIENT, AREA = "azure-iot-hub", "Manager"


class Manager:
    def works(self):
        return 1

    def fails(self):
        raise ValueError("refused")


def call(name):
    try:
        getattr(watched(Manager(), CLIENT), name)()
    except ValueError:
        pass


@proves(CLIENT, AREA, "works")
def test_shown():
    call("works")


@refuses(CLIENT, AREA, "fails", answer="no")
def test_refusal_shown():
    call("fails")


@breaks(CLIENT, AREA, "works", "fails", because="either way")
def test_bug_shown():
    call("works")
    call("fails")


@lacks(CLIENT, AREA, "absent", because="not there")
def test_lacking():
    pass


@proves(CLIENT, AREA, "works")
def test_not_called():
    pass


@proves(CLIENT, AREA, "fails")
def test_called_and_failed():
    call("fails")


@refuses(CLIENT, AREA, "works", answer="no")
def test_refused_and_succeeded():
    call("works")


def test_no_claim():
    call("works")
"""


def test_a_claim_that_its_calls_do_not_show_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(CLAIMS)
    ran = pytester.runpytest_subprocess("-p", "tests.compatibility", "--compatibility=claims.json", "-p", "no:randomly")
    ran.assert_outcomes(passed=4, failed=3, deselected=1)
    ran.stdout.fnmatch_lines_random(
        [f"*FAILED*::{name}*" for name in ("test_not_called", "test_called_and_failed", "test_refused_and_succeeded")]
    )
    outcomes = {
        test.rpartition("::")[2]: outcome
        for claim in json.loads((pytester.path / "claims.json").read_text())["claims"]
        for test, outcome in claim["tests"].items()
    }
    assert (outcomes["test_shown"], outcomes["test_not_called"]) == ("passed", "failed")
    assert "test_no_claim" not in outcomes


def claim(operation: str, result: Result = Result.WORKS, note: str = "", **more: Any) -> dict[str, Any]:
    row = {
        "client": "azure-iot-hub",
        "area": "A",
        "operation": operation,
        "transport": "REST",
        "tests": {"t.py::t": ""},
    }
    return {**row, "result": result, "note": note, **more}


def test_the_page_counts_what_works_and_names_the_rest() -> None:
    record = page.recorded(
        [
            claim("a"),
            claim("a", tests={"u.py::u": ""}),
            claim("b", Result.REFUSED, "404: no"),
            claim("c", Result.LACKING, "later", transport="AMQP"),
        ]
    )
    (overview,) = [line for line in page.overview(record) if "azure-iot-hub" in line]
    assert overview.endswith("| 1 of 3 | 1 refused, 1 not yet |")
    assert "| A | REST | 1 of 3 | `c`: not yet over AMQP, later; `b`: refused, 404: no |" in page.details(record)
    assert [row["tests"] for row in record["claims"] if row["operation"] == "a"] == [["t.py", "u.py"]]


def cell(operation: str, who: str, lacking: str = "", **more: str) -> dict[str, Any]:
    row = {"table": "devices", "runs_on": "Node", "transport": "AMQP", "credential": "key", "tests": {}}
    return {**row, "operation": operation, "who": who, "lacking": lacking, **more}


def test_a_field_names_who_can_and_why_others_cannot() -> None:
    cells = [
        cell("C2D", "module", "devices only"),
        cell("C2D", "device"),
        cell("twins", "device", "no twins"),
        cell("methods", "module"),
        cell("methods", "device"),
    ]
    cells += [cell("D2C", "device"), cell("file upload", "device", "no twins")]
    lines = page.matrix(page.recorded([], [*cells, cell("D2C", "device", transport="MQTT")]))
    rows = [line for line in lines if line.startswith("| Node")]
    assert rows[1] == "| Node | AMQP | key | device | device (1) | device, module | none (2) | none (2) |"
    assert rows[0].startswith("| Node | MQTT | key | device |")
    assert lines[-2:] == ["1. devices only", "2. no twins"]


def test_provisioning_has_a_field_for_each_kind_of_enrollment() -> None:
    kinds = TABLES["provisioning"].credentials
    cells = [
        cell("register", "device", table="provisioning", transport=transport, credential=kind)
        for transport in ("HTTPS", "MQTT")
        for kind in reversed(kinds)
    ]
    *_, first, second = page.provisioning(page.recorded([], cells))
    assert (first, second) == (f"| Node | MQTT |{' works |' * 5}", f"| Node | HTTPS |{' works |' * 5}")


def test_an_operation_is_not_claimed_in_two_ways() -> None:
    with pytest.raises(SystemExit, match="is claimed as"):
        page.recorded([claim("a"), claim("a", Result.REFUSED, "404: no")])


def test_what_was_skipped_is_not_recorded() -> None:
    assert page.not_passed([claim("a", tests={"t": "passed", "u": "skipped"})]) == ["u"]


def test_a_claim_names_a_known_client_and_operations() -> None:
    with pytest.raises(AssertionError, match="not in CLIENTS"):
        proves("nobody", "A", "a")
    with pytest.raises(AssertionError, match="names operations"):
        lacks("azure-iot-hub", "A", because="x")
