"""Write docs/compatibility.md and its reference from what the end-to-end tests claim about clients, and how they ended.

    scripts/compatibility.py           runs tests/e2e; when all of it passed, records the claims and writes the pages
    scripts/compatibility.py --check   runs nothing: what the tests claim is on record, and the pages show the record

The record is tests/compatibility_results.json. That its tests still pass is what `make test` is for: a claim whose test
fails fails there. Of docs/compatibility.md only what stands between its marks is written.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.compatibility import CLIENTS, TABLES, TRANSPORTS, Client, Result  # noqa: E402  # the path above makes it importable

_RECORD = ROOT / "tests" / "compatibility_results.json"
_RAN = ROOT / "build" / "compatibility.json"
_PAGE = ROOT / "docs" / "compatibility.md"
_LIST = ROOT / "docs" / "reference" / "compatibility-operations.md"
_NOTE = "<!-- Made by scripts/compatibility.py from what tests show; run `make compatibility`. -->"
_GENERATED = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)

Row = dict[str, Any]


# -- the record --------------------------------------------------------------------------------------------------------


def run(*more: str) -> dict[str, list[Row]]:
    """Run pytest over tests/e2e; claims and cells, each with {test: outcome}. Raises `SystemExit` when it fails."""
    command = [sys.executable, "-m", "pytest", "-q", "tests/e2e", f"--compatibility={_RAN}", *more]
    ended = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL if more else None)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command[2:])} ended with {ended.returncode}")
    return dict(json.loads(_RAN.read_text()))


def recorded(claims: Iterable[Row], cells: Iterable[Row] = ()) -> Row:
    """The record: versions, each operation once with the files of the tests that show it, and the cells of tables."""
    rows: dict[tuple[str, ...], Row] = {}
    for claim in claims:
        files = {test.partition("::")[0] for test in claim["tests"]}
        key = (claim["client"], claim["area"], claim["operation"], claim["transport"])
        row = rows.setdefault(key, {**claim, "tests": set()})
        if (row["result"], row["note"]) != (claim["result"], claim["note"]):
            raise SystemExit(f"{key} is claimed as {row['result']!r} and as {claim['result']!r}")
        row["tests"] |= files
    order = list(CLIENTS)
    claims = [{**row, "tests": sorted(row["tests"])} for _, row in sorted(rows.items())]
    claims.sort(key=lambda row: order.index(row["client"]))
    names = {row["client"] for row in claims}
    return {
        "versions": {name: CLIENTS[name].version for name in order if name in names},
        "claims": claims,
        "cells": [{member: value for member, value in cell.items() if member != "tests"} for cell in cells],
    }


def not_passed(claims: Iterable[Row]) -> list[str]:
    """What says nothing about a client, since it was skipped."""
    return sorted({test for row in claims for test, outcome in row["tests"].items() if outcome != "passed"})


# -- the pages ---------------------------------------------------------------------------------------------------------


def by_client(record: Row) -> Iterator[tuple[Client, str, list[Row]]]:
    for name, rows in groupby(record["claims"], key=lambda row: row["client"]):
        yield CLIENTS[name], record["versions"][name], list(rows)


def overview(record: Row) -> list[str]:
    lines = ["| Client | Version | For | Works | Otherwise |", "|---|---|---|---|---|"]
    for client, version, rows in by_client(record):
        others = ", ".join(
            f"{count} {result}"
            for result in list(Result)[1:]
            if (count := sum(row["result"] == result for row in rows))
        )
        works = sum(row["result"] == Result.WORKS for row in rows)
        lines.append(
            f"| [{client.name}](#{anchor(client, version)}) ({client.runs_on}) | {version} | {client.purpose} "
            f"| {works} of {len(rows)} | {others} |"
        )
    return lines


def details(record: Row) -> list[str]:
    lines: list[str] = []
    for client, version, rows in by_client(record):
        lines += [f"### {heading(client, version)}", "", "| Area | Over | Works | Otherwise |", "|---|---|---|---|"]
        for area, in_area in grouped(rows, "area"):
            works = [row for row in in_area if row["result"] == Result.WORKS]
            transports = ", ".join(sorted({row["transport"] for row in works or in_area}))
            lines.append(f"| {area} | {transports} | {len(works)} of {len(in_area)} | {exceptions(in_area)} |")
        lines.append("")
    return lines[:-1]


def matrix(record: Row) -> list[str]:
    """What devices and modules do over each transport, with each credential: who can, and why others cannot."""
    operations = TABLES["devices"].operations
    lines = [f"| SDK for | Over | Credential | {' | '.join(operations)} |", f"|---|---|---|{'---|' * len(operations)}"]
    reasons: list[str] = []
    for runs_on, transport, credential, cells in _rows_of_cells(record, "devices"):
        fields = []
        for operation in operations:
            of_operation = [cell for cell in cells if cell["operation"] == operation]
            can = [cell["who"] for cell in of_operation if not cell["lacking"]]
            cannot = list(dict.fromkeys(cell["lacking"] for cell in of_operation if cell["lacking"]))
            reasons += [reason for reason in cannot if reason not in reasons]
            notes = "".join(f" ({reasons.index(reason) + 1})" for reason in cannot)
            fields.append(f"{', '.join(can) or 'none'}{notes}")
        lines.append(f"| {runs_on} | {transport} | {credential} | {' | '.join(fields)} |")
    return [*lines, "", *(f"{number}. {reason}" for number, reason in enumerate(reasons, start=1))]


def provisioning(record: Row) -> list[str]:
    """What a device gets itself provisioned with, over each transport."""
    credentials = TABLES["provisioning"].credentials
    lines = [f"| SDK for | Over | {' | '.join(credentials)} |", f"|---|---|{'---|' * len(credentials)}"]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for runs_on, transport, credential, cells in _rows_of_cells(record, "provisioning"):
        (cell,) = cells
        rows.setdefault((runs_on, transport), {})[credential] = cell["lacking"] or "works"
    for (runs_on, transport), fields in rows.items():
        lines.append(f"| {runs_on} | {transport} | {' | '.join(fields[each] for each in credentials)} |")
    return lines


def _rows_of_cells(record: Row, table: str) -> Iterator[tuple[str, str, str, list[Row]]]:
    """(SDK, transport, credential, cells), in the order of the headings."""
    credentials = TABLES[table].credentials
    cells = [cell for cell in record["cells"] if cell["table"] == table]
    for runs_on in sorted({cell["runs_on"] for cell in cells}):
        for transport in TRANSPORTS:
            for credential in credentials:
                heading = (runs_on, transport, credential)
                if row := [c for c in cells if (c["runs_on"], c["transport"], c["credential"]) == heading]:
                    yield *heading, sorted(row, key=lambda cell: str(cell["who"]))


def exceptions(rows: list[Row]) -> str:
    said = []
    others = [row for row in rows if row["result"] != Result.WORKS]
    for (result, note), same in groupby(sorted(others, key=_why), key=_why):
        names = ", ".join(f"`{row['operation']}`" for row in same)
        said.append(f"{names}: {result}, {note}" if note else f"{names}: {result}")
    return "; ".join(said)


def _why(row: Row) -> tuple[str, str]:
    over = f" over {row['transport']}" if row["result"] == Result.LACKING else ""
    return f"{row['result']}{over}", row["note"]


def operations(record: Row) -> str:
    lines = ["# Operations of clients", "", _NOTE, ""]
    lines += [
        "Every operation that a test claims something about, and the tests that show it. The summary is in",
        "[compatibility](../compatibility.md).",
    ]
    for client, version, rows in by_client(record):
        lines += ["", f"## {heading(client, version)}", "", "| Area | Operation | Over | Result | Tests |"]
        lines.append("|---|---|---|---|---|")
        for row in rows:
            result = f"{row['result']}: {row['note']}" if row["note"] else row["result"]
            tests = "" if row["result"] == Result.LACKING else ", ".join(Path(test).stem for test in row["tests"])
            lines.append(f"| {row['area']} | `{row['operation']}` | {row['transport']} | {result} | {tests} |")
    return "\n".join(lines) + "\n"


def heading(client: Client, version: str) -> str:
    return f"{client.name} {version} ({client.runs_on})"


def anchor(client: Client, version: str) -> str:
    """The heading's anchor as forges make it."""
    return re.sub(r"[^\w -]", "", heading(client, version).lower()).replace(" ", "-")


def grouped(rows: list[Row], member: str) -> Iterator[tuple[str, list[Row]]]:
    for name, same in groupby(sorted(rows, key=lambda row: row[member]), key=lambda row: row[member]):
        yield name, list(same)


def page(text: str, record: Row) -> str:
    """docs/compatibility.md with its generated parts written anew."""
    parts = {"overview": overview, "matrix": matrix, "provisioning": provisioning, "details": details}
    written = _GENERATED.sub(lambda found: f"{found[1]}{_lines(parts[found[2]](record))}{found[3]}", text)
    if {found[1] for found in _GENERATED.findall(text)} != set(parts):
        raise SystemExit(f"{_PAGE.relative_to(ROOT)} has to have the marks of {', '.join(parts)}, once each")
    return written


def _lines(lines: list[str]) -> str:
    return "\n".join(["", *lines, "", ""])


def main() -> int:
    if "--check" not in sys.argv[1:]:
        ran = run()
        if skipped := not_passed([*ran["claims"], *ran["cells"]]):
            raise SystemExit(f"not run here, so nothing is recorded: {', '.join(skipped)}")
        record = recorded(**ran)
        _RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        _PAGE.write_text(page(_PAGE.read_text(), record))
        _LIST.write_text(operations(record))
        return 0
    record = json.loads(_RECORD.read_text())
    stale = []
    if recorded(**run("--collect-only")) != record:
        stale.append("what tests claim is not what is on record")
    if page(_PAGE.read_text(), record) != _PAGE.read_text() or operations(record) != _LIST.read_text():
        stale.append("the pages do not show what is on record")
    if stale:
        click.echo(f"{' and '.join(stale)}; run `make compatibility`", err=True)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
