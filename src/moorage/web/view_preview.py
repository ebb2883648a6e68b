"""A view of a template with data while it is edited: of one of its devices, or invented (contract/central.md V-6).

The view is that of the draft, the device still speaks as what is published: what only the draft has is empty, and what
a value does not fit is told beside it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from moorage.analytics.rollups import Bucket, Key, LastValue, Scalar
from moorage.dtdl.model import Command, Interface
from moorage.fleet.device_models import DeviceModel
from moorage.fleet.invention import invent, invent_message
from moorage.fleet.model import Device, DeviceFilter, DeviceOrder, DeviceRecord
from moorage.fleet.properties import PropertySheet, property_states
from moorage.fleet.template_model import Template
from moorage.fleet.views import Subject, View
from moorage.hub.model import Document
from moorage.hub.twins import fresh_twin
from moorage.ids import DeviceId, HubId, IdentityName, parse_device_id
from moorage.web.pages import Visit
from moorage.web.services import WebServices
from moorage.web.tiles import SPANS, CommandCard, ViewTile, charted_keys, view_tiles

__all__ = ["INVENTED", "Preview", "preview_of"]

# Instead of a device's id, which has no slash.
INVENTED: Final = "/invented"
# The devices that can be chosen, those first that were heard of last.
_MOST_DEVICES: Final = 100
_SPAN: Final = SPANS["30m"]
_NOBODY: Final = DeviceId("preview")


@dataclass(frozen=True, slots=True)
class Preview:
    """`chosen` is a device's id or `INVENTED`, `devices` are (id, name) of those that can be chosen."""

    chosen: str
    devices: tuple[tuple[str, str], ...]
    tiles: tuple[ViewTile, ...]

    @property
    def is_invented(self) -> bool:
        return self.chosen == INVENTED


async def preview_of(services: WebServices, visit: Visit, template: Template, view: View, chosen: str) -> Preview:
    """`chosen` is what an address says, '' for the device that was heard of last, if it has sent anything.

    Raises `NotFound` (`device.unknown`), also for a device that whoever asks may not see, and `Invalid` (`id.device`).
    """
    devices: list[tuple[str, str]] = []
    if visit.may("devices.view"):
        wanted, order = DeviceFilter(template=template.template_id), DeviceOrder("connection", is_descending=True)
        found, _ = await services.fleet.sorted(visit.actor, wanted, order, _MOST_DEVICES)
        devices = [(each.record.device_id, each.record.display_name) for each in found]
    if not visit.may("devices.view"):
        chosen = INVENTED
    elif not chosen:
        has_spoken = devices and await services.series.last_values(DeviceId(devices[0][0]))
        chosen = devices[0][0] if has_spoken else INVENTED
    if chosen == INVENTED:
        tiles = await asyncio.to_thread(_invented, services.hub, template, view, services.clock.now())
    else:
        tiles = await _of_device(services, visit, template, view, parse_device_id(chosen))
    return Preview(chosen, tuple(devices), tuple(tiles))


async def _of_device(
    services: WebServices, visit: Visit, template: Template, view: View, device_id: DeviceId
) -> list[ViewTile]:
    interface, now = template.latest.interface, services.clock.now()
    sheet = services.properties.read(visit.actor, device_id)
    last = await services.series.last_values(device_id)
    keys = charted_keys([view], interface)
    lines: Mapping[Key, Mapping[datetime, Bucket]] = {}
    if keys:
        found = await services.series.many_buckets([device_id], keys, now - _SPAN.length, now, _SPAN.step)
        lines = found[device_id]
    drafted = replace(
        sheet,
        model=DeviceModel(sheet.model.device, template.latest),
        states=property_states(sheet.twin, interface),
    )
    return await asyncio.to_thread(view_tiles, view, interface, last, lines, drafted, _cards(view, interface))


def _invented(hub: HubId, template: Template, view: View, now: datetime) -> list[ViewTile]:
    interface, dice = template.latest.interface, random.Random()
    last: dict[Key, LastValue] = {}
    for component, part in interface.parts():
        for name, value in invent_message(part, component, dice, now).items():
            last |= {(component, leaf): LastValue(now, each) for leaf, each in _leaves(name, value)}
    lines = {key: _line(interface, key, dice, now) for key in charted_keys([view], interface)}
    return view_tiles(view, interface, last, lines, _invented_sheet(hub, template, dice, now), _cards(view, interface))


def _line(interface: Interface, key: Key, dice: random.Random, now: datetime) -> dict[datetime, Bucket]:
    component, name = key
    part = interface.part(component)
    line: dict[datetime, Bucket] = {}
    for minutes in range(int(_SPAN.length / timedelta(minutes=1)), -1, -1):
        at = now - timedelta(minutes=minutes)
        value = None if part is None else invent_message(part, component, dice, at).get(name)
        if isinstance(value, (int, float)):
            line.setdefault(at, Bucket()).add(value)
    return line


def _invented_sheet(hub: HubId, template: Template, dice: random.Random, now: datetime) -> PropertySheet:
    """As of a device that has taken every value that was asked for."""
    interface = template.latest.interface
    reported: dict[str, Any] = {}
    cloud: dict[str, Any] = {}
    for component, part in interface.parts():
        values: dict[str, Any] = {} if component else reported
        for each in part.properties:
            value = invent(each.schema, f"{component}/{each.name}", dice, now)
            values[each.name] = {"value": value, "ac": 200, "av": 1, "ad": ""} if each.is_writable else value
        if component and values:
            reported[component] = {"__t": "c", **values}
        if not component:
            cloud = {each.name: invent(each.schema, each.name, dice, now) for each in part.cloud_properties}
    twin = replace(fresh_twin(hub, IdentityName(_NOBODY)), reported=Document(reported, {}, 1))
    model = DeviceModel(Device(DeviceRecord(hub, _NOBODY, _NOBODY, now), None), template.latest)
    return PropertySheet(model, twin, property_states(twin, interface), cloud)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Scalar]]:
    """As telemetry is kept: an object by what it holds."""
    if isinstance(value, Mapping):
        for inner, each in value.items():
            yield from _leaves(f"{name}.{inner}", each)
    elif isinstance(value, (str, int, float)):
        yield name, value


def _cards(view: View, interface: Interface) -> dict[Subject, CommandCard]:
    """Without anything to press."""
    cards: dict[Subject, CommandCard] = {}
    for tile in view.tiles:
        if tile.kind == "command":
            subject = tile.subjects[0]
            part = interface.part(subject.component)
            found = None if part is None else part.by_name.get(subject.name)
            if isinstance(found, Command):
                cards[subject] = CommandCard(
                    subject.component, found.name, found.label, found.description, found.name, is_durable=False
                )
    return cards
