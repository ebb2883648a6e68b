"""Commands on the wire, what their model says of them, and the history that is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from moorage.accounts.model import ALL_PERMISSIONS, Actor
from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import SqliteStore
from moorage.clock import HandClock
from moorage.errors import Invalid, NotFound, TooLarge
from moorage.fleet.commands import (
    MAX_RUNS_KEPT,
    CommandRun,
    Commands,
    judge_command,
    message_of,
    outcome_of,
    progress_of,
)
from moorage.fleet.device_models import DeviceModels
from moorage.fleet.model import Device, DeviceRecord, TemplateId
from moorage.fleet.template_model import make_content
from moorage.hub.messages import MessageService
from moorage.hub.methods import MethodService
from moorage.hub.model import Document
from moorage.hub.sessions import LiveSessions
from moorage.hub.twins import fresh_twin
from moorage.identities.registry import IdentityDraft, IdentityRegistry
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PUMP = DeviceId("pump-01")
ADA = Actor("user:ada", frozenset(ALL_PERMISSIONS))
DOCUMENT = {
    "@context": "dtmi:dtdl:context;2",
    "@id": "dtmi:com:example:TemperatureController;2",
    "@type": "Interface",
    "contents": [
        {"@type": "Command", "name": "reboot", "request": {"name": "delay", "schema": "integer"}},
        {"@type": "Command", "name": "wake", "durable": True},
        {
            "@type": "Component",
            "name": "thermostat1",
            "schema": {
                "@id": "dtmi:com:example:Thermostat;1",
                "@type": "Interface",
                "contents": [
                    {
                        "@type": "Command",
                        "name": "getMaxMinReport",
                        "request": {"name": "since", "schema": "dateTime"},
                    }
                ],
            },
        },
    ],
}
CONTENT = make_content("Controller", "", DOCUMENT)
CONTROLLER = CONTENT.interface
TEMPLATE = TemplateId("dtmi:contoso:controller;1")
RUN = CommandRun(DEFAULT_HUB, IdentityName(PUMP), "1", "", "reboot", 3, False, NOW, "user:ada")


class OneDevice:
    """Ada sees whatever there is, which has a template."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def get(self, actor: Actor, device_id: DeviceId) -> Device:
        if actor.name != ADA.name:
            raise NotFound("device.unknown", f"there is no device {device_id!r}")
        identity = self._store.read().identities.find(DEFAULT_HUB, IdentityName(device_id))
        return Device(DeviceRecord(DEFAULT_HUB, device_id, device_id, NOW, TEMPLATE), identity)


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(":memory:", secrets_key=bytes(32), bus=LocalBus())
    await IdentityRegistry(opened).create(DEFAULT_HUB, IdentityDraft(IdentityName(PUMP)), NOW)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOW)


@pytest.fixture
def commands(store: SqliteStore, clock: HandClock) -> Commands:
    models = DeviceModels(OneDevice(store), {TEMPLATE: CONTENT}.get)
    methods = MethodService(store, LiveSessions())
    return Commands(DEFAULT_HUB, store, methods, MessageService(store, clock), models, clock)


# -- what goes over the wire -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("request_", "body"), [(None, b"@"), ({"delay": 3}, b'{"delay":3}'), (0, b"0"), ("", b'""')])
def test_a_queued_command_is_a_message_that_names_its_method(request_: Any, body: bytes) -> None:
    draft = message_of("thermostat1*wake", request_, now=NOW)
    assert (draft.body, draft.properties) == (body, {"method-name": "thermostat1*wake"})
    assert draft.expires == NOW + timedelta(hours=24)


def test_the_model_says_what_is_queued_and_what_is_not() -> None:
    assert judge_command(CONTROLLER, "", "wake", None)
    assert not judge_command(CONTROLLER, "", "reboot", 3, is_queued=True)
    assert judge_command(CONTROLLER, "", "unheardOf", {}, is_queued=True)


@pytest.mark.parametrize(
    ("component", "command", "value"), [("", "reboot", "3"), ("thermostat1", "getMaxMinReport", 1)]
)
def test_a_request_that_its_schema_does_not_allow_is_refused(component: str, command: str, value: Any) -> None:
    with pytest.raises(Invalid, match="does not fit its schema") as refused:
        judge_command(CONTROLLER, component, command, value)
    assert refused.value.reason == "command.request"


# -- what is kept ------------------------------------------------------------------------------------------------------


async def test_a_durable_command_waits_for_its_device_and_is_remembered(store: SqliteStore, commands: Commands) -> None:
    run = await commands.run(ADA, PUMP, "wake")
    assert outcome_of(run, now=NOW) == "queued"
    [message] = store.read().messages.waiting(DEFAULT_HUB, IdentityName(PUMP), 10)
    assert (message.body, message.properties) == (b"@", {"method-name": "wake"})
    assert await commands.history(ADA, PUMP) == [run]


async def test_a_device_that_is_away_is_remembered_with_the_reason(commands: Commands) -> None:
    with pytest.raises(NotFound, match="not connected"):
        await commands.run(ADA, PUMP, "getMaxMinReport", "2030-01-01T00:00:00Z", component="thermostat1")
    [run] = await commands.history(ADA, PUMP, component="thermostat1", command="getMaxMinReport")
    assert (run.reason, run.by, outcome_of(run, now=NOW)) == ("device.not_online", "user:ada", "failed")
    assert await commands.history(ADA, PUMP, component="") == []


async def test_what_could_never_be_sent_is_not_kept(commands: Commands) -> None:
    for command, component, kind in (("a b", "", Invalid), ("a*b", "c", Invalid)):
        with pytest.raises(kind):
            await commands.run(ADA, PUMP, command, component=component)
    with pytest.raises(TooLarge):
        await commands.run(ADA, PUMP, "free", "x" * 140_000)
    with pytest.raises(NotFound):
        await commands.run(ADA, DeviceId("valve-1"), "free")
    assert await commands.history(ADA, PUMP) == []


async def test_who_does_not_see_the_device_runs_nothing_and_reads_nothing(commands: Commands) -> None:
    stranger = replace(ADA, name="user:eve")
    with pytest.raises(NotFound, match="no device"):
        await commands.run(stranger, PUMP, "wake")
    with pytest.raises(NotFound, match="no device"):
        await commands.history(stranger, PUMP)


async def test_the_newest_runs_stay(store: SqliteStore, commands: Commands) -> None:
    def fill(tables: Any) -> None:
        for number in range(MAX_RUNS_KEPT + 5):
            run = replace(RUN, run_id=f"{number:03}", started=NOW + timedelta(seconds=number // 2))
            tables.commands.add(run, keep=MAX_RUNS_KEPT)

    await store.write(fill)
    kept = [run.run_id for run in await commands.history(ADA, PUMP)]
    assert kept == [f"{number:03}" for number in range(MAX_RUNS_KEPT + 4, 4, -1)]


async def test_the_event_loop_goes_on_while_a_long_history_is_read(store: SqliteStore, commands: Commands) -> None:
    answer = [{"number": number, "text": "x"} for number in range(4000)]

    def fill(tables: Any) -> None:
        for number in range(MAX_RUNS_KEPT):
            run = replace(RUN, run_id=str(number), request=answer, response=answer, status=200)
            tables.commands.add(run, keep=MAX_RUNS_KEPT)

    await store.write(fill)
    reading = asyncio.create_task(commands.history(ADA, PUMP))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert len(await reading) == MAX_RUNS_KEPT
    assert turns > 10


async def test_the_history_goes_with_the_device(store: SqliteStore, commands: Commands) -> None:
    await commands.run(ADA, PUMP, "wake")
    await IdentityRegistry(store).delete(DEFAULT_HUB, IdentityName(PUMP))
    assert store.read().commands.newest(DEFAULT_HUB, PUMP, 10) == []


async def test_an_end_that_comes_after_the_device_is_gone_leaves_nothing(store: SqliteStore) -> None:
    await store.write(lambda tables: tables.commands.end(replace(RUN, ended=NOW)))
    assert store.read().commands.find(DEFAULT_HUB, RUN.name, RUN.run_id) is None


# -- how it went -------------------------------------------------------------------------------------------------------


def test_a_run_without_an_end_is_lost_once_nobody_can_wait_for_it() -> None:
    assert outcome_of(RUN, now=NOW + timedelta(seconds=20)) == "running"
    assert outcome_of(RUN, now=NOW + timedelta(hours=1)) == "lost"
    assert outcome_of(replace(RUN, status=200, ended=NOW), now=NOW) == "answered"
    assert outcome_of(replace(RUN, status=202, ended=NOW), now=NOW) == "accepted"


@pytest.mark.parametrize(
    ("at", "status", "told"),
    [
        ("2030-01-01T00:00:05.0000000Z", 202, True),
        ("2029-12-31T23:59:59.0000000Z", 202, False),
        ("2030-01-01T00:00:05.0000000Z", 200, False),
    ],
)
@pytest.mark.parametrize("component", ["", "thermostat1"])
def test_what_a_device_reports_of_a_long_command_since_it_began(
    component: str, at: str, status: int, told: bool
) -> None:
    value: dict[str, Any] = {"reboot": {"value": "done", "ac": 200}}
    metadata: dict[str, Any] = {"reboot": {"$lastUpdated": at}}
    if component:
        value, metadata = {component: {"__t": "c", **value}}, {component: metadata}
    twin = replace(fresh_twin(DEFAULT_HUB, RUN.name), reported=Document(value, metadata, 2))
    progress = progress_of(replace(RUN, component=component, status=status, ended=NOW), twin)
    assert (progress is not None) == told
    if progress is not None:
        assert progress.value == {"value": "done", "ac": 200}


async def test_a_device_that_never_came_is_said_to_be_one(commands: Commands) -> None:
    with pytest.raises(NotFound, match=r"device\.not_registered: 'valve-1' has not registered"):
        await commands.run(ADA, DeviceId("valve-1"), "wake")
