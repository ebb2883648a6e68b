"""The life of a device template, on a real store: drafts, publishing, versions, and how a device finds its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from moorage.accounts.model import ALL_PERMISSIONS, Actor, OrganizationId
from moorage.adapters.bus import LocalBus
from moorage.adapters.model_folder import ModelFolders
from moorage.adapters.sqlite.store import MEMORY, SqliteStore
from moorage.clock import HandClock
from moorage.dtdl.problems import InvalidModel
from moorage.errors import Conflict, Invalid, NotFound, PreconditionFailed
from moorage.fleet.model import UNASSIGNED, DeviceRecord, TemplateId
from moorage.fleet.template_changes import compare
from moorage.fleet.template_model import Content, Template, make_content, parse_template_id
from moorage.fleet.template_steps import template_for_model
from moorage.fleet.templates import TemplateService
from moorage.fleet.views import Subject, Tile, View
from moorage.ids import DEFAULT_HUB, DeviceId
from tests.unit.dtdl.models import component, interface, telemetry

HUB = DEFAULT_HUB
ADA = Actor("user:ada", frozenset(ALL_PERMISSIONS))
PUMP = TemplateId("dtmi:modelDefinition:com:example:Pump;1")
THERMOSTAT = "dtmi:com:example:Thermostat;1"
CONTROLLER = "dtmi:com:example:TemperatureController;2"
LIMIT = {"@type": "Property", "name": "limit", "schema": "double", "writable": True}
OWNER = {"@type": ["Property", "Cloud"], "name": "owner", "schema": "string"}


@pytest.fixture
def bus() -> LocalBus:
    return LocalBus()


@pytest.fixture
async def store(bus: LocalBus) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(MEMORY, secrets_key=b"k" * 32, bus=bus)
    yield store
    await asyncio.to_thread(store.close)


@pytest.fixture
def templates(store: SqliteStore, tmp_path: Path) -> TemplateService:
    return TemplateService(HUB, store, HandClock(), ModelFolders([tmp_path]))


def content(*contents: Any, name: str = "Pump", **members: Any) -> Content:
    return make_content(name, "", interface(*contents, **members))


async def published(templates: TemplateService, *contents: Any) -> Template:
    template = await templates.create_draft(ADA, content(*contents))
    return await templates.publish(ADA, template.template_id)


async def give(store: SqliteStore, template: TemplateId, *names: str) -> None:
    """Devices that have the template."""
    now = HandClock().now()
    for name in names:
        record = DeviceRecord(HUB, DeviceId(name), name, now, template=template)
        await store.write(lambda tables, record=record: tables.devices.put(record))  # type: ignore[misc] # bound now


async def test_a_draft_is_nothing_to_devices_until_it_is_published(templates: TemplateService) -> None:
    draft = await templates.create_draft(ADA, content(telemetry()))
    assert draft.template_id == PUMP and not draft.is_published
    assert templates.interface_of(PUMP) is None
    assert templates.published_for_model("dtmi:com:example:Pump;1") == UNASSIGNED

    made = await templates.publish(ADA, PUMP)

    assert made.is_published and made.draft is None and made.version == 2
    assert templates.published_for_model("dtmi:com:example:Pump;1") == PUMP
    model = templates.interface_of(PUMP)
    assert model is not None and model.find_telemetry("speed")
    assert templates.get(PUMP) == made
    assert [view.name for view in made.views] == ["Overview"]


async def test_whoever_listens_is_told_what_becomes_of_what_is_published(
    bus: LocalBus, templates: TemplateService
) -> None:
    told: list[dict[str, Any]] = []
    bus.subscribe(lambda event: told.append(dict(event.data)))
    await published(templates, telemetry())
    await templates.put_draft(ADA, PUMP, content(telemetry(), LIMIT))
    await templates.publish(ADA, PUMP)
    await templates.delete(ADA, PUMP)
    await asyncio.sleep(0)
    model = "dtmi:com:example:Pump;1"
    lives = [{"published": life, "model": model} for life in ("created", "updated", "deleted")]
    assert told == [{}, lives[0], {}, *lives[1:]]


async def test_what_is_added_reaches_devices_when_it_is_published(
    store: SqliteStore, templates: TemplateService
) -> None:
    template = await published(templates, telemetry())
    await give(store, PUMP, "a")
    edited = await templates.put_draft(ADA, PUMP, content(telemetry(), LIMIT, OWNER), template.etag)
    assert edited.interface.properties == () and edited.latest.interface.properties
    assert [(each.kind, each.name, each.what) for each in templates.changes(edited)] == [
        ("added", "limit", "property"),
        ("added", "owner", "cloud property"),
    ]
    model = templates.interface_of(PUMP)
    assert model is not None and not model.properties

    await templates.publish(ADA, PUMP, edited.etag)

    model = templates.interface_of(PUMP)
    assert model is not None and model.find_property("limit") and model.cloud_properties


async def test_what_devices_would_not_fit_any_more_takes_a_version(
    store: SqliteStore, templates: TemplateService
) -> None:
    await published(templates, telemetry(), LIMIT)
    await templates.put_draft(ADA, PUMP, content(telemetry("speed", "string")))
    await give(store, PUMP, "a", "b")

    with pytest.raises(Conflict, match="2 devices use .* speed its schema was double, and is string; .* limit") as no:
        await templates.publish(ADA, PUMP)
    assert no.value.reason == "template.breaking"

    version = await templates.new_version(ADA, PUMP)
    assert version.template_id == "dtmi:modelDefinition:com:example:Pump;2"
    assert version.model_id == "dtmi:com:example:Pump;2"
    assert not version.is_published and version.latest.interface.telemetry[0].schema.kind == "string"
    await templates.publish(ADA, version.template_id)
    assert templates.published_for_model("dtmi:com:example:Pump;2") == version.template_id
    assert (await templates.new_version(ADA, PUMP)).template_id.endswith(";3")


async def test_without_devices_anything_may_be_published(templates: TemplateService) -> None:
    await published(templates, telemetry())
    await templates.put_draft(ADA, PUMP, content(telemetry("other")))
    assert (await templates.publish(ADA, PUMP)).interface.find_telemetry("other")


async def test_a_draft_can_be_thrown_away(templates: TemplateService) -> None:
    await published(templates, telemetry())
    assert (await templates.put_draft(ADA, PUMP, content(telemetry("x")))).draft
    assert (await templates.discard_draft(ADA, PUMP)).draft is None
    await templates.create_draft(ADA, content(telemetry(), name="Fan"), TemplateId("dtmi:x:Fan;1"))
    with pytest.raises(Conflict, match="never published"):
        await templates.discard_draft(ADA, TemplateId("dtmi:x:Fan;1"))


async def test_a_draft_like_what_is_published_is_none(templates: TemplateService) -> None:
    template = await published(templates, telemetry())
    same = await templates.put_draft(ADA, PUMP, content(telemetry()))
    assert same == template


async def test_a_stale_etag_changes_nothing(templates: TemplateService) -> None:
    first = await templates.create_draft(ADA, content(telemetry()))
    await templates.put_draft(ADA, PUMP, content(telemetry("x")), first.etag)
    for late in (
        templates.put_draft(ADA, PUMP, content(), first.etag),
        templates.publish(ADA, PUMP, first.etag),
        templates.delete(ADA, PUMP, first.etag),
        templates.put_published(ADA, PUMP, content(), first.etag),
    ):
        with pytest.raises(PreconditionFailed):
            await late
    assert templates.get(PUMP).latest.interface.find_telemetry("x")


async def test_a_template_that_devices_use_stays(store: SqliteStore, templates: TemplateService) -> None:
    await published(templates, telemetry())
    await give(store, PUMP, "a")
    with pytest.raises(Conflict, match="one device uses"):
        await templates.delete(ADA, PUMP)
    assert await templates.device_counts(ADA) == {PUMP: 1}
    elsewhere = replace(ADA, organizations=frozenset({OrganizationId("elsewhere")}))
    assert await templates.device_counts(elsewhere) == {}
    await store.write(lambda tables: tables.devices.delete(HUB, DeviceId("a")))
    await templates.delete(ADA, PUMP)
    with pytest.raises(NotFound):
        templates.get(PUMP)
    assert templates.interface_of(PUMP) is None


async def test_a_put_publishes_at_once_and_keeps_views_that_still_fit(templates: TemplateService) -> None:
    made = await templates.put_published(ADA, TemplateId("dtmi:contoso:pump;1"), content(telemetry(), LIMIT))
    assert made.is_published
    views = (
        View("speeds", "Speeds", "custom", (Tile("chart", "Speed", (Subject("", "speed"),)),)),
        View("settings", "Settings", "form", (Tile("property", "", (Subject("", "limit"),)),)),
    )
    await templates.put_draft(ADA, made.template_id, replace(made.content, own_views=views))
    assert (await templates.publish(ADA, made.template_id)).content.own_views == views

    again = await templates.put_published(ADA, made.template_id, content(LIMIT))

    assert again.content.own_views == views[1:]
    assert templates.get(made.template_id) == again


async def test_a_cosmetic_change_leaves_the_model_as_it_is(templates: TemplateService) -> None:
    await templates.put_published(ADA, PUMP, content(telemetry()))
    shown = content(telemetry(displayName="Speed of the pump", unit="metrePerSecond"), OWNER)
    assert (await templates.put_published(ADA, PUMP, shown, cosmetic_only=True)).cloud_properties
    with pytest.raises(Conflict) as no:
        await templates.put_published(ADA, PUMP, content(telemetry(), LIMIT), cosmetic_only=True)
    assert no.value.reason == "template.not_cosmetic"
    # What devices have does not become the application's own.
    for taken in (telemetry("owner"), {**OWNER, "@type": "Property"}):
        before = await templates.put_published(ADA, PUMP, content(taken))
        with pytest.raises(Conflict, match=r"template\.not_cosmetic"):
            await templates.put_published(ADA, PUMP, content(OWNER), cosmetic_only=True)
        assert templates.get(PUMP) == before
    with pytest.raises(NotFound):
        await templates.put_published(ADA, TemplateId("dtmi:no:where;1"), shown, cosmetic_only=True)


@pytest.mark.parametrize(
    "view",
    [
        View("overview", "Mine", "custom", ()),
        View("x", " ", "custom", ()),
        View("x", "X", "custom", (Tile("chart"),)),
        View("x", "X", "custom", (Tile("chart", "", (Subject("", "limit"),)),)),
        View("x", "X", "custom", (Tile("chart", "", (Subject("nowhere", "speed"),)),)),
        View("x", "X", "custom", (Tile("text", "", (), "a" * 5000),)),
        View("x", "X", "custom", (Tile("text"),) * 101),
        View("x", "X", "form", (Tile("chart", "", (Subject("", "speed"),)),)),
        View("x", "X", "form", (Tile("property", "", (Subject("", "serial"),)),)),
    ],
)
async def test_a_view_shows_what_the_model_has(templates: TemplateService, view: View) -> None:
    serial = {"@type": "Property", "name": "serial", "schema": "string"}
    template = await templates.create_draft(ADA, content(telemetry(), LIMIT, serial))
    with pytest.raises(Invalid) as no:
        await templates.put_draft(ADA, PUMP, replace(template.latest, own_views=(view,)))
    assert no.value.reason.startswith("view.")


async def test_a_device_of_a_model_that_lies_ready_gets_a_template(
    store: SqliteStore, templates: TemplateService
) -> None:
    now = HandClock().now()
    made = await store.write(lambda tables: template_for_model(tables, HUB, CONTROLLER, templates.models, now))
    again = await store.write(lambda tables: template_for_model(tables, HUB, CONTROLLER, templates.models, now))

    assert made == again == "dtmi:modelDefinition:com:example:TemperatureController;2"
    template = templates.get(made)
    assert template.is_published and template.display_name == "Temperature controller"
    assert [view.name for view in template.views] == ["Overview", "About", "Commands", "Form"]
    assert template.interface.find_command("getMaxMinReport", "thermostat1")


async def test_a_model_that_nobody_knows_leaves_a_device_unassigned(
    store: SqliteStore, templates: TemplateService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "dtmi" / "com" / "example"
    folder.mkdir(parents=True)
    (folder / "broken-1.json").write_text(json.dumps(interface({"@type": "Telemetry"}, name="Broken")))
    (folder / "torn-1.json").write_text("{")
    for model in ("dtmi:no:Where;1", "../../etc/passwd", "", "dtmi:com:example:Broken;1", "dtmi:com:example:Torn;1"):
        found = await store.write(partial(templates.for_model, model_id=model))
        assert found == UNASSIGNED
    assert "template.name" in caplog.text and "torn-1.json" in caplog.text
    assert await templates.list() == []


async def test_the_model_folder_comes_before_what_comes_along(templates: TemplateService, tmp_path: Path) -> None:
    folder = tmp_path / "dtmi" / "com" / "example"
    folder.mkdir(parents=True)
    (folder / "thermostat-1.json").write_text(json.dumps(interface(telemetry("mine"), name="Thermostat")))
    (folder / "kettle-1.json").write_text(json.dumps(interface(component("probe", THERMOSTAT), name="Kettle")))

    assert "dtmi:com:example:Kettle;1" in templates.models.all() and CONTROLLER in templates.models.all()
    model = templates.read_model(templates.models.find("dtmi:com:example:Kettle;1"))
    assert model.interface.find_telemetry("mine", "probe") and model.fetched == (THERMOSTAT,)


async def test_of_two_templates_for_one_model_the_later_one_is_taken(templates: TemplateService) -> None:
    await templates.put_published(ADA, TemplateId("dtmi:z:old;1"), content(telemetry()))
    await templates.put_published(ADA, TemplateId("dtmi:z:other;1"), content(telemetry()))
    assert templates.published_for_model("dtmi:com:example:Pump;1") == "dtmi:z:other;1"
    second = await templates.create_draft(ADA, content(telemetry()))
    third = await templates.create_draft(ADA, content(telemetry("other")))
    assert (second.template_id, third.template_id) == (PUMP, "dtmi:modelDefinition:com:example:Pump2;1")


async def test_what_is_asked_for_twice_is_made_once(templates: TemplateService) -> None:
    first = await templates.create_draft(ADA, content(telemetry()))
    assert await templates.create_draft(ADA, content(telemetry())) == first
    version = await templates.new_version(ADA, PUMP)
    assert await templates.new_version(ADA, PUMP) == version
    await templates.put_draft(ADA, version.template_id, content(LIMIT))
    assert (await templates.new_version(ADA, PUMP)).template_id.endswith(";3")
    assert len(await templates.list()) == 3


async def test_lists_tell_of_drafts_and_of_what_is_published(templates: TemplateService) -> None:
    await published(templates, telemetry())
    await templates.put_draft(ADA, PUMP, content(LIMIT, name="Pump, renamed"))
    await templates.create_draft(ADA, content(name="Fan"), TemplateId("dtmi:a:Fan;1"))
    assert [(each.display_name, each.is_published, each.has_draft) for each in await templates.list()] == [
        ("Fan", False, True),
        ("Pump", True, True),
    ]


@pytest.mark.parametrize("text", ["", "pump", "dtmi:pump", "dtmi:a;0", f"dtmi:{'a' * 300};1"])
def test_an_id_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_template_id(text)


def test_a_name_is_needed_and_a_model_that_stands_alone() -> None:
    with pytest.raises(Invalid):
        make_content(" ", "", interface())
    with pytest.raises(Invalid):
        make_content("x", "a" * 3000, interface())
    with pytest.raises(InvalidModel):
        make_content("x", "", interface(component("a", THERMOSTAT)))
    with pytest.raises(InvalidModel, match="characters"):
        make_content("x", "", interface(*({"@type": "Telemetry", "junk": "a" * 10_000} for _ in range(60))))


COMMAND = {"@type": "Command", "name": "run"}
STATE = {"@type": "Enum", "valueSchema": "integer", "enumValues": [{"name": "a", "enumValue": 1}]}
WIDER = {**STATE, "enumValues": [{"name": "a", "enumValue": 1}, {"name": "b", "enumValue": 2}]}


@pytest.mark.parametrize(
    ("old", "new", "told", "is_breaking"),
    [
        (telemetry(), telemetry(displayName="Speed"), "is called 'Speed', no longer 'speed'", False),
        (telemetry(), telemetry(unit="knot"), "is in knot, was in none", False),
        (telemetry(), telemetry(minValue=1), "is shown or described differently", False),
        (telemetry("speed", STATE), telemetry("speed", WIDER), "takes more values", False),
        (telemetry("speed", WIDER), telemetry("speed", STATE), "its schema was Enum, and is another Enum", True),
        (telemetry(), telemetry("speed", "integer"), "its schema was double, and is integer", True),
        (telemetry("limit"), LIMIT, "was a telemetry", True),
        (LIMIT, {**LIMIT, "writable": False}, "was writable", True),
        ({**LIMIT, "writable": False}, LIMIT, "is writable", False),
        (OWNER, {**OWNER, "schema": "double"}, "its schema was string, and is double", False),
        (OWNER, {**OWNER, "@type": "Property"}, "was a cloud property, which no device has", True),
        (
            {**OWNER, "@type": "Property"},
            OWNER,
            "was a property, and no device is told of a cloud property",
            True,
        ),
        (COMMAND, {**COMMAND, "durable": True}, "comes as a message", True),
        (COMMAND, {**COMMAND, "request": {"name": "a", "schema": "double"}}, "has a request now", True),
        (
            {**COMMAND, "response": {"name": "a", "schema": "double"}},
            {**COMMAND, "response": {"name": "a", "schema": "date"}},
            "its response was double, and is date",
            True,
        ),
    ],
)
def test_what_changed_is_told_and_whether_it_breaks_devices(old: Any, new: Any, told: str, is_breaking: bool) -> None:
    changes = compare(content(old).interface, content(new).interface)
    assert [(each.sentence, each.is_breaking) for each in changes] == [(told, is_breaking)]


def test_what_changes_inside_of_a_component_is_told_with_its_name() -> None:
    before = content(component("c", interface(telemetry("a"), name="Part")))
    after = content(component("c", interface(telemetry("b"), name="Part")))
    changes = compare(before.interface, after.interface)
    assert [(each.kind, each.spelled, each.is_breaking) for each in changes] == [
        ("added", "c.b", False),
        ("removed", "c.a", True),
    ]


def test_another_id_of_the_model_breaks_devices_that_announce_it() -> None:
    changed = make_content("Pump", "", interface() | {"@id": "dtmi:com:example:Pump;2"})
    assert compare(content().interface, changed.interface)[0].is_breaking
    renamed = compare(content().interface, content(displayName="Pumpe").interface)
    assert [(each.what, each.is_breaking) for each in renamed] == [("model", False)]
