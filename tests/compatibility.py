"""What a test proves about a client that nobody here wrote, said beside the test and gathered into one document.

    @proves("azure-iot-hub", "IoTHubRegistryManager", "get_twin", "update_twin")
    def test_...                                    # passes only when it did call them, where the client is watched

    @refuses("azure-iothub", "Registry", "listJobs", answer="404, NotFound: there is no blob storage")
    @breaks("azure-iot-hub", "IoTHubJobManager", "query_scheduled_jobs", because="it expects an object, ...")
    @lacks("azure-iot-hub", "IoTHubRegistryManager", "send_c2d_message", because="over AMQP")

A claim is (client, area, operation, transport) with one of four results: it works; it is refused with an answer that is
documented; the client breaks on an answer that is right; it is lacking. `lacks` needs no test that calls it; the others
hold because the test passed. A suite compares `claimed` with what the client offers, so an operation without a test
fails. `pytest --compatibility FILE` runs the tests that claim something, and writes what and how they ended;
scripts/compatibility.py makes the pages of it.

    @plays(Cell("devices", "Node", "AMQP", "thumbprint", "twins", "module"))

A cell is one field of a table on the page: every combination of its headings is either played by a test or lacking in
the client, for a reason that the test shows.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

__all__ = [
    "CLIENTS",
    "TABLES",
    "TRANSPORTS",
    "Cell",
    "Claim",
    "Client",
    "Result",
    "Table",
    "breaks",
    "claimed",
    "claims_of",
    "lacks",
    "note_call",
    "plays",
    "proves",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_runtest_call",
    "pytest_sessionfinish",
    "refuses",
    "watched",
]

_MARK = "compatibility"
_CELL_MARK = "compatibility_cell"
# It names exact versions, and is there before anything is installed.
_NODE_PACKAGES = Path(__file__).parent / "e2e" / "node" / "package.json"


class Result(StrEnum):
    WORKS = "works"
    REFUSED = "refused"
    CLIENT_BUG = "client bug"
    LACKING = "not yet"


@dataclass(frozen=True)
class Client:
    """One client of the document. `version` is fixed for what is replayed; that of the installed package else."""

    name: str
    # "Python", "Node", or what else runs it.
    runs_on: str
    # What it is for, as the page says it.
    purpose: str
    # Its calls are noted (`watched`, `note_call`): a claim about a call that was not made fails its test.
    is_watched: bool = False
    replayed_version: str = ""

    @property
    def version(self) -> str:
        if self.replayed_version:
            return self.replayed_version
        if self.runs_on == "Node":
            return str(json.loads(_NODE_PACKAGES.read_text())["dependencies"][self.name])
        return importlib.metadata.version(self.name)


CLIENTS = {
    client.name: client
    for client in (
        Client("azure-iot-device", "Python", "devices and modules, and their provisioning"),
        Client("azure-iot-device-mqtt", "Node", "devices and modules"),
        Client("azure-iot-device-amqp", "Node", "devices and modules"),
        Client("azure-iot-device-http", "Node", "devices over HTTPS"),
        Client("azure-storage-blob", "Python", "files of devices"),
        Client("azure-eventhub", "Python", "readers of telemetry"),
        Client("@azure/event-hubs", "Node", "readers of telemetry"),
        Client("azure-iot-provisioning-device-mqtt", "Node", "provisioning of devices"),
        Client("azure-iot-provisioning-device-amqp", "Node", "provisioning of devices"),
        Client("azure-iot-provisioning-device-http", "Node", "provisioning of devices"),
        Client("azure-iot-hub", "Python", "the hub's service API", is_watched=True),
        Client("azure-iothub", "Node", "the hub's service API", is_watched=True),
        Client("azure-iot-deviceprovisioning", "Python", "the provisioning service's API", is_watched=True),
        Client("azure-iothub-provisioningserviceclient", "Python", "the same, older", is_watched=True),
        Client("azure-iot-provisioning-service", "Node", "the provisioning service's API", is_watched=True),
        Client("azure-mgmt-iothub", "Python", "the control plane of hubs", is_watched=True),
        Client(
            "azure-mgmt-iothubprovisioningservices",
            "Python",
            "the control plane of provisioning services",
            is_watched=True,
        ),
        Client("az iot", "replayed", "the command line's data-plane calls", replayed_version="0.25.0"),
    )
}


@dataclass(frozen=True, order=True)
class Claim:
    client: str
    area: str
    operation: str
    transport: str
    result: Result
    # The documented answer, what the client does wrong, or why it is lacking.
    note: str = ""


TRANSPORTS = ("MQTT", "MQTT-WS", "AMQP", "AMQP-WS", "HTTPS")


@dataclass(frozen=True)
class Table:
    """The headings of a table beside transports, in their order."""

    credentials: tuple[str, ...]
    operations: tuple[str, ...]


TABLES = {
    "devices": Table(
        ("thumbprint", "CA-signed leaf", "leaf below two intermediates", "key"),
        ("D2C", "C2D", "methods", "twins", "file upload"),
    ),
    "provisioning": Table(
        ("X.509, individual", "X.509, group, below two intermediates", "key, individual", "key, group", "TPM"),
        ("register",),
    ),
}


@dataclass(frozen=True, order=True)
class Cell:
    """One combination of the headings of a table."""

    # One of TABLES.
    table: str
    runs_on: str
    transport: str
    credential: str
    operation: str
    # "device" or "module".
    who: str
    # Why the client cannot; empty where the test shows that it works.
    lacking: str = ""

    @property
    def name(self) -> str:
        return (
            "-".join((self.runs_on, self.transport, self.credential, self.operation, self.who))
            .replace(" ", "_")
            .replace(",", "")
        )


def proves(client: str, area: str, *operations: str, transport: str = "REST") -> pytest.MarkDecorator:
    """The test shows that these operations work."""
    return _mark(client, area, operations, transport, Result.WORKS, "")


def refuses(client: str, area: str, *operations: str, answer: str, transport: str = "REST") -> pytest.MarkDecorator:
    """The test shows that these operations get the documented refusal `answer`, and nothing else."""
    return _mark(client, area, operations, transport, Result.REFUSED, answer)


def breaks(client: str, area: str, *operations: str, because: str, transport: str = "REST") -> pytest.MarkDecorator:
    """The test shows that the client cannot take the right answer."""
    return _mark(client, area, operations, transport, Result.CLIENT_BUG, because)


def lacks(client: str, area: str, *operations: str, because: str, transport: str = "AMQP") -> pytest.MarkDecorator:
    """These operations would not work; put beside the test that counts a client's operations."""
    return _mark(client, area, operations, transport, Result.LACKING, because)


def plays(cell: Cell) -> pytest.MarkDecorator:
    """The test shows that this combination works, or that the client lacks it for the reason that is given."""
    return getattr(pytest.mark, _CELL_MARK)(cell)  # type: ignore[no-any-return]  # marks are made by name


def _mark(
    client: str, area: str, operations: tuple[str, ...], transport: str, result: Result, note: str
) -> pytest.MarkDecorator:
    assert client in CLIENTS, f"{client} is not in CLIENTS"
    assert operations, "a claim names operations"
    claims = tuple(Claim(client, area, each, transport, result, note) for each in operations)
    return getattr(pytest.mark, _MARK)(claims)  # type: ignore[no-any-return]  # marks are made by name


def claims_of(marks: Iterable[pytest.Mark]) -> list[Claim]:
    return [claim for mark in marks if mark.name == _MARK for claim in mark.args[0]]


def claimed(client: str, *modules: ModuleType) -> set[tuple[str, str]]:
    """(area, operation) of every claim about a client in these test modules."""
    marks = [mark for module in modules for each in vars(module).values() for mark in _marks_on(each)]
    return {(claim.area, claim.operation) for claim in claims_of(marks) if claim.client == client}


def _marks_on(thing: object) -> Iterator[pytest.Mark]:
    if not callable(thing) or isinstance(thing, pytest.MarkDecorator):
        return
    for mark in getattr(thing, "pytestmark", ()):
        yield mark
        if mark.name == "parametrize":
            for values in mark.args[1]:
                yield from getattr(values, "marks", ())


# -- what a test calls -------------------------------------------------------------------------------------------------

_calls: set[tuple[str, str, str, bool]] = set()


def note_call(client: str, area: str, operation: str, *, succeeded: bool) -> None:
    """The test that runs has made this call of a watched client."""
    _calls.add((client, area, operation, succeeded))


def _is_shown(claim: Claim) -> bool:
    """The calls that were made can show what the claim says: one that succeeded, one that failed, or any."""
    outcomes = {Result.WORKS: {True}, Result.REFUSED: {False}, Result.CLIENT_BUG: {True, False}}.get(claim.result)
    return outcomes is None or any(
        (claim.client, claim.area, claim.operation, succeeded) in _calls for succeeded in outcomes
    )


class _Watched:
    """A client as it is; which of its operations are called is noted, and whether they succeed."""

    def __init__(self, inner: Any, client: str, area: str) -> None:
        self._inner, self._client, self._area = inner, client, area

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value) or name.startswith("_"):
            return value

        @wraps(value)
        def call(*arguments: Any, **named: Any) -> Any:
            succeeded = False
            try:
                answer = value(*arguments, **named)
                succeeded = True
            finally:
                note_call(self._client, self._area, name, succeeded=succeeded)
            return answer

        return call


def watched(inner: Any, client: str, area: str = "") -> Any:
    """`inner`, an object or a class of the client, with its calls noted; the area is the class unless told."""
    return _Watched(inner, client, area or (inner if isinstance(inner, type) else type(inner)).__name__)


# -- pytest's part -----------------------------------------------------------------------------------------------------

_OUTCOMES = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--compatibility", metavar="FILE", help="write what the tests claim about clients, and how they ended"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{_MARK}(claims): what the test proves about a client (tests/compatibility.py)")
    config.addinivalue_line("markers", f"{_CELL_MARK}(cell): a field of a table that the test plays")
    config.stash[_OUTCOMES] = {}
    config.pluginmanager.register(_Recorder(config.stash[_OUTCOMES]))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A run that writes claims down runs the tests that claim something, and no others."""
    if config.getoption("--compatibility"):
        claiming = [item for item in items if item.get_closest_marker(_MARK) or item.get_closest_marker(_CELL_MARK)]
        config.hook.pytest_deselected(items=[item for item in items if item not in claiming])
        items[:] = claiming


class _Recorder:
    """The worst that each test came to, over its set-up, its call and its end."""

    def __init__(self, outcomes: dict[str, str]) -> None:
        self._outcomes = outcomes

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._outcomes.get(report.nodeid, "passed") == "passed":
            self._outcomes[report.nodeid] = report.outcome


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test that passed has made the calls that it claims."""
    _calls.clear()
    result = yield
    missing = [
        f"{claim.client}: {claim.area}.{claim.operation} ({claim.result})"
        for claim in claims_of(item.iter_markers(_MARK))
        if CLIENTS[claim.client].is_watched and not _is_shown(claim)
    ]
    if missing:
        pytest.fail(f"it claims what its calls do not show: {', '.join(missing)}", pytrace=False)
    return result


def pytest_sessionfinish(session: pytest.Session) -> None:
    if file := session.config.getoption("--compatibility"):
        outcomes = session.config.stash[_OUTCOMES]
        claims: dict[Claim, dict[str, str]] = defaultdict(dict)
        cells: dict[Cell, dict[str, str]] = defaultdict(dict)
        for item in session.items:
            outcome = outcomes.get(item.nodeid, "not run")
            for claim in claims_of(item.iter_markers(_MARK)):
                claims[claim][item.nodeid] = outcome
            for mark in item.iter_markers(_CELL_MARK):
                cells[mark.args[0]][item.nodeid] = outcome
        document = {"claims": _rows(claims), "cells": _rows(cells)}
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(json.dumps(document, indent=1) + "\n")


def _rows(gathered: dict[Any, dict[str, str]]) -> list[dict[str, Any]]:
    """Claims or cells in order, each with {test: outcome}."""
    return [{**asdict(each), "tests": dict(sorted(tests.items()))} for each, tests in sorted(gathered.items())]
