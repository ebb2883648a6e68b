"""The list of devices: a tree of templates, filters, bulk acts; and + New (contract/central.md NAV-1, 10, REG-1)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from moorage.accounts.model import OrganizationId
from moorage.attempts.model import Attempt
from moorage.dialects.hub_json import Presence
from moorage.dtdl.model import Property
from moorage.errors import Conflict, Invalid, NotFound, Refusal, TooLarge
from moorage.fleet.bulk import UNASSIGNED_WORD, DeviceWords
from moorage.fleet.model import (
    COLUMNS,
    MAX_DISPLAY_NAME,
    STATES,
    UNASSIGNED,
    Device,
    DeviceColumn,
    DeviceDraft,
    DeviceFilter,
    DeviceOrder,
    DeviceRecord,
    DeviceState,
    Place,
    TemplateId,
    parse_plain_id,
)
from moorage.fleet.properties import PropertyKey
from moorage.hub_info import HubInfo
from moorage.ids import DeviceId
from moorage.web.code import Act, Call, act_as_code, central_path
from moorage.web.device_page import STATE_LABELS
from moorage.web.pages import Page, Visit, segment
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.values import value_text

__all__ = ["STATE_MARKS", "DeviceQuery", "device_list_pages"]

PAGE_SIZE: Final = 50
# How many are counted where counting means looking at each.
_MOST_COUNTED: Final = 1000
# Longer than an id and a name together, without case: so what is cut finds no more than the whole would have.
_MOST_TEXT: Final = 600
# Of properties, beside those that every list has.
_MAX_COLUMNS: Final = 6
# A form that is sent twice, by a double click, is answered as if it had been sent once.
_SAME_FORM: Final = timedelta(minutes=1)

# A name without case can be longer than it is.
_MOST_KEY: Final = 4 * MAX_DISPLAY_NAME
# What the filter's own fields do not say.
_BESIDE_FILTER: Final = ("template", "sort", "direction", "column")
# The columns that every list has.
_HEADINGS: Final[tuple[tuple[DeviceColumn, str], ...]] = (
    ("name", "Device name"),
    ("id", "Device ID"),
    ("status", "Device status"),
    ("template", "Device template"),
    ("organization", "Organization"),
    ("simulated", "Simulated"),
    ("connection", "Connection"),
)

# How a status is marked.
STATE_MARKS: Final[dict[DeviceState, str]] = {
    "registered": "outline",
    "provisioned": "good",
    "waiting": "warn",
    "blocked": "bad",
}


def device_list_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _DeviceList(services, renderer)
    return [
        Page("GET", "/devices", pages.all, "devices.view"),
        Page("POST", "/devices", pages.create, "devices.manage", keeps=True),
        Page("GET", "/devices/new", pages.new, "devices.manage"),
    ]


@dataclass(frozen=True, slots=True)
class DeviceQuery:
    """What an address, or the form of a bulk act, says about which devices; each '' where it says nothing.

    `order` is how they are sorted, '' by their ids.
    """

    text: str = ""
    state: str = ""
    template: str = ""
    organization: str = ""
    connected: str = ""
    order: DeviceColumn | Literal[""] = ""
    is_descending: bool = False

    @classmethod
    def of(cls, fields: Any) -> DeviceQuery:
        """Out of the names `q`, `state`, `template`, `organization`, `connected`, `sort` and `direction`.

        What is none of them is left out.
        """
        text, state, template, organization, connected = (
            str(fields.get(name, "")).strip()[:_MOST_TEXT]
            for name in ("q", "state", "template", "organization", "connected")
        )
        return cls(
            text,
            state if state in STATES else "",
            template,
            organization,
            connected if connected in ("yes", "no") else "",
            next((column for column in COLUMNS if column == fields.get("sort")), ""),
            fields.get("direction") == "down",
        )

    @property
    def is_any(self) -> bool:
        """Whether it leaves no device out."""
        return replace(self, order="", is_descending=False) == DeviceQuery()

    def fields(self) -> dict[str, str]:
        """For an address; without what is empty."""
        named = {
            "q": self.text,
            "state": self.state,
            "template": self.template,
            "organization": self.organization,
            "connected": self.connected,
            "sort": self.order,
            "direction": "down" if self.is_descending else "",
        }
        return {name: value for name, value in named.items() if value}

    def wanted(self, services: WebServices) -> DeviceFilter:
        words = DeviceWords(self.text, self.state, self.template, self.organization, self.connected)
        return words.wanted(services.organizations)


@dataclass(frozen=True, slots=True)
class _Column:
    """A property of the template that the list may show; `address` is what stands for it in an address."""

    address: str
    label: str
    key: PropertyKey
    declared: Property


@dataclass(frozen=True, slots=True)
class _Row:
    """One device in the list; `values` are those of the columns that were chosen."""

    device: Device
    presence: Presence
    refusal: Attempt | None
    template: str
    organization: str
    values: list[str]

    @property
    def record(self) -> DeviceRecord:
        return self.device.record

    @property
    def state(self) -> tuple[str, str]:
        return STATE_LABELS[self.device.state], STATE_MARKS[self.device.state]

    @property
    def trouble(self) -> Attempt | None:
        """Why it was refused last, unless it was in since."""
        since = self.presence.last_activity
        return None if self.refusal is None or (since is not None and since > self.refusal.at) else self.refusal


@dataclass(frozen=True, slots=True)
class _Heading:
    """The head of a column, and where it leads: sorted by it, or the other way round when it is so already."""

    column: DeviceColumn
    label: str
    address: str
    is_current: bool
    is_descending: bool

    @property
    def aria_sort(self) -> str:
        return ("descending" if self.is_descending else "ascending") if self.is_current else "none"


@dataclass(frozen=True, slots=True)
class _Branch:
    """An entry of the tree at the left."""

    label: str
    devices: int
    address: str
    is_current: bool


class _DeviceList:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._renderer = renderer

    async def all(self, visit: Visit) -> Response:
        services, hub = self._services, self._services.hub
        query, after = DeviceQuery.of(visit.query), visit.query.get("after", "")[:_MOST_TEXT]
        wanted = query.wanted(services)
        templates, names = dict(services.fleet.templates()), self._organization_names()
        order = DeviceOrder(query.order or "id", query.is_descending, _labels(query.order, templates, names))
        place = Place(visit.query.get("key", "")[:_MOST_KEY], DeviceId(after)) if after else None
        devices, last = await services.fleet.sorted(visit.actor, wanted, order, PAGE_SIZE, place)
        # Whoever sees the whole list has counted it.
        matching = (
            len(devices)
            if last is None and not after
            else await services.fleet.count(visit.actor, wanted, most=_MOST_COUNTED)
        )
        refusals = await services.attempts.last_refusals(hub, [each.record.device_id for each in devices])
        choices = self._columns(wanted.template)
        asked = visit.request.query_params.getlist("column")
        columns = [each for each in choices if each.address in asked][:_MAX_COLUMNS]
        values = await asyncio.to_thread(self._values, visit, devices, columns) if columns else {}
        rows = [
            _Row(
                each,
                services.presence.of(hub, each.identity.name) if each.identity else Presence(),
                refusals.get(each.record.device_id),
                templates.get(each.record.template, each.record.template),
                names.get(each.record.organization, each.record.organization),
                values.get(each.record.device_id, []),
            )
            for each in devices
        ]
        carried = {**query.fields(), **({"column": [each.address for each in columns]} if columns else {})}
        tree = self._tree(visit, query, templates)
        shown: dict[str, Any] = {
            "rows": rows,
            "choices": choices,
            "columns": columns,
            "most_columns": _MAX_COLUMNS,
            "query": query,
            "filtered": urlencode(carried, doseq=True),
            "carried_by_filter": {name: carried[name] for name in _BESIDE_FILTER if name in carried},
            "states": STATE_LABELS,
            "tree": tree,
            "total": tree[0].devices,
            "matching": matching,
            "is_counted": matching < _MOST_COUNTED or not (query.text or query.connected),
            "templates": list(templates.items()),
            "organizations": services.organizations.seen_by(visit.actor),
            "has_organizations": bool(names),
            "is_first": not after,
            "next": "" if last is None else urlencode({**carried, **_behind(order, last)}, doseq=True),
            "headings": _headings(query, carried),
            "connected": services.presence.count(hub) if visit.actor.organizations is None else None,
            "info": services.info(),
            "deleted": visit.query.get("deleted", "")[:_MOST_TEXT],
            "of_group": visit.query.get("of", "")[:_MOST_TEXT],
        }
        part = shown["is_part"] = visit.request.headers.get("hx-target") == "devices"
        return await self._renderer.long_page(visit, "devices/part.html" if part else "devices/list.html", **shown)

    async def new(self, visit: Visit) -> Response:
        return await self._form(visit, {"template": visit.query.get("template", "")[:_MOST_TEXT]})

    async def create(self, visit: Visit) -> Response:
        fields = await visit.form()
        try:
            visit.check_in_time()
            draft = self._draft(visit, fields)
        except Refusal as refusal:
            return await self._form(visit, fields, refusal)
        there = f"/devices/{segment(draft.device_id)}"
        try:
            await self._services.fleet.create(visit.actor, draft)
        except (Invalid, NotFound, TooLarge) as refusal:
            return await self._form(visit, fields, refusal)
        except Conflict as refusal:
            if not self._was_just_made(visit, draft):
                return await self._form(visit, fields, refusal)
        return RedirectResponse(there, HTTPStatus.SEE_OTHER)

    def _draft(self, visit: Visit, fields: dict[str, str]) -> DeviceDraft:
        """Raises `Invalid` (`id.device_plain`), `NotFound` (`organization.unknown`, `manifest.unknown`)."""
        organization = fields.get("organization", visit.actor.organization)
        return DeviceDraft(
            parse_plain_id(fields.get("device_id", "").strip()),
            fields.get("display_name", ""),
            TemplateId(fields.get("template", "")),
            self._services.organizations.choose(visit.actor, organization),
            is_simulated="simulated" in fields,
            is_edge="edge" in fields,
            manifest=self._manifest(visit, fields) if "edge" in fields else "",
        )

    def _manifest(self, visit: Visit, fields: dict[str, str]) -> str:
        """What the Edge device is to run from its first connection on. Raises `NotFound` (`manifest.unknown`)."""
        chosen = fields.get("manifest", "")
        return self._services.automation.manifests.get(visit.actor, chosen).manifest_id if chosen else ""

    def _was_just_made(self, visit: Visit, draft: DeviceDraft) -> bool:
        try:
            record = self._services.fleet.get(visit.actor, draft.device_id).record
        except NotFound:
            return False
        return (
            self._services.clock.now() - record.created < _SAME_FORM
            and record.display_name == (draft.display_name.strip() or draft.device_id)
            and (record.template, record.organization) == (draft.template, draft.organization)
            and (record.is_simulated, record.is_edge) == (draft.is_simulated, draft.is_edge)
        )

    async def _form(self, visit: Visit, fields: dict[str, str], problem: Refusal | None = None) -> Response:
        services = self._services
        return await self._renderer.long_page(
            visit,
            "devices/new.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            fields=fields,
            problem=problem,
            templates=services.fleet.templates(),
            organizations=services.organizations.seen_by(visit.actor),
            manifests=await services.automation.manifests.all(visit.actor),
            acts=[_as_code(services.info(), fields)],
        )

    def _columns(self, template: TemplateId | None) -> list[_Column]:
        """The properties and cloud properties of a template, by the order of its model."""
        model = self._services.templates.interface_of(template) if template else None
        if model is None:
            return []
        return [
            _Column(
                ".".join(filter(None, (component, each.name))),
                f"{component}: {each.label}" if component else each.label,
                PropertyKey(component, each.name),
                each,
            )
            for component, part in model.parts()
            for each in (*part.properties, *(() if component else part.cloud_properties))
        ]

    def _values(self, visit: Visit, devices: Sequence[Device], columns: Sequence[_Column]) -> dict[DeviceId, list[str]]:
        """In a thread: a twin is read for each device."""
        found: dict[DeviceId, list[str]] = {}
        for device in devices:
            device_id = device.record.device_id
            try:
                sheet = self._services.properties.read(visit.actor, device_id)
            except NotFound:
                # It went since the list was read.
                continue
            known = {each.key: each.value for each in sheet.states}
            known |= {PropertyKey("", name): value for name, value in sheet.cloud.items()}
            found[device_id] = [value_text(known.get(each.key), each.declared) for each in columns]
        return found

    def _tree(self, visit: Visit, query: DeviceQuery, templates: dict[TemplateId, str]) -> list[_Branch]:
        """All devices, each template, Unassigned; with how many devices whoever looks sees of each."""
        counts: dict[TemplateId, int] = {}
        for tally in self._services.fleet.tallies(visit.actor):
            counts[tally.template] = counts.get(tally.template, 0) + tally.devices
        known = {**{each: each for each in counts if each}, **templates}
        branches = [("All devices", "", sum(counts.values()))]
        branches += [
            (label, str(each), counts.get(each, 0)) for each, label in sorted(known.items(), key=lambda item: item[1])
        ]
        branches.append(("Unassigned", UNASSIGNED_WORD, counts.get(UNASSIGNED, 0)))
        others = {name: value for name, value in query.fields().items() if name != "template"}
        return [
            _Branch(
                label,
                devices,
                "/devices?" + urlencode({**others, **({"template": template} if template else {})}),
                template == query.template,
            )
            for label, template, devices in branches
        ]

    def _organization_names(self) -> dict[OrganizationId, str]:
        return {each.organization_id: each.display_name for each in self._services.organizations.all()}


def _labels(
    order: str, templates: Mapping[TemplateId, str], organizations: Mapping[OrganizationId, str]
) -> Mapping[str, str]:
    """The words of a column, as the list shows them."""
    match order:
        case "status":
            return {str(each): label for each, label in STATE_LABELS.items()}
        case "template":
            return {**{str(each): label for each, label in templates.items()}, UNASSIGNED: "Unassigned"}
        case "organization":
            return {str(each): label for each, label in organizations.items()}
        case _:
            return {}


def _behind(order: DeviceOrder, last: Place) -> dict[str, str]:
    """What an address says of where the next page begins; the id alone where that is what devices are sorted by."""
    key = {} if order.column == "id" else {"key": last.key}
    return {**key, "after": last.device_id}


def _headings(query: DeviceQuery, carried: Mapping[str, Any]) -> dict[str, _Heading]:
    """By column. A first click sorts upwards, and by who was heard of last."""
    kept = {name: value for name, value in carried.items() if name not in ("sort", "direction")}
    found: dict[str, _Heading] = {}
    for column, label in _HEADINGS:
        is_current = column == (query.order or "id")
        is_down = not query.is_descending if is_current else column == "connection"
        asked = {**kept, "sort": column, **({"direction": "down"} if is_down else {})}
        address = f"/devices?{urlencode(asked, doseq=True)}"
        found[column] = _Heading(column, label, address, is_current, query.is_descending)
    return found


def _as_code(info: HubInfo, fields: dict[str, str]) -> Act:
    """What Create does, with what was typed so far."""
    device_id = fields.get("device_id", "").strip() or "my-device-01"
    name = fields.get("display_name", "").strip() or device_id
    template, organization = fields.get("template", ""), fields.get("organization", "")
    body: dict[str, Any] = {"displayName": name, "simulated": "simulated" in fields}
    az = ["device", "create", "--device-id", device_id, "--device-name", name]
    if template:
        body["template"] = template
        az += ["--template", template]
    if "simulated" in fields:
        az.append("--simulated")
    if organization:
        body["organizations"] = [organization]
        az += ["--organizations", organization]
    return act_as_code(info, "Create", Call("PUT", central_path("devices", device_id), body, az))
