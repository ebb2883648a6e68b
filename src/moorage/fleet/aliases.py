"""Mapped aliases: simple names for places inside what a device sends (contract/central.md 8.2).

A path is the part of JSONPath that names one place: `$["Device"]["Temp"]`, `$.Device.Temp`, `$["readings"][0]`. What is
found there appears beside the message, under the alias, in `_mappeddata`; the message itself stays as it came.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from moorage.accounts.model import Actor
from moorage.errors import Invalid, TooLarge
from moorage.fleet.device_models import DeviceModels
from moorage.identities.model import RegistryTables
from moorage.identities.registry import find_in
from moorage.ids import DeviceId, HubId, IdentityName
from moorage.store import Store

__all__ = [
    "MAX_ALIASES",
    "MAX_ALIAS_CHARS",
    "MAX_PATH_CHARS",
    "Alias",
    "AliasTable",
    "AliasTables",
    "Aliases",
    "Path",
    "encode_path",
    "map_data",
    "parse_alias",
    "parse_path",
]

audit = logging.getLogger("moorage.audit")

# contract/central.md MAP-2
MAX_ALIAS_CHARS: Final = 64
MAX_PATH_CHARS: Final = 1000
# Of one device.
MAX_ALIASES: Final = 50

# Names of members and numbers of elements, from the outside in.
Path = tuple[str | int, ...]

_STEP = re.compile(
    r"""\[\s*"(?P<double>(?:[^"\\]|\\["\\])*)"\s*\]|\[\s*'(?P<single>(?:[^'\\]|\\['\\])*)'\s*\]"""
    r"""|\[\s*(?P<index>[0-9]{1,6})\s*\]|\.(?P<plain>[^.\[\]"'\s$*@?]+)"""
)
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Alias:
    """`alias` names what is found at `path`."""

    alias: str
    path: Path


class AliasTable(Protocol):
    """Aliases, by device."""

    def of_device(self, hub: HubId, device_id: DeviceId) -> list[Alias]:
        """In the order of their names."""

    def put(self, hub: HubId, device_id: DeviceId, alias: Alias) -> None:
        """Insert or replace."""

    def delete(self, hub: HubId, device_id: DeviceId, alias: str) -> bool: ...


class AliasTables(RegistryTables, Protocol):
    @property
    def aliases(self) -> AliasTable: ...


def parse_alias(text: str) -> str:
    """Raises `Invalid` (`alias.name`)."""
    name = text.strip()
    if not name or len(name) > MAX_ALIAS_CHARS or not name.isprintable() or name.startswith("_"):
        raise Invalid(
            "alias.name",
            f"{name[:80]!r} cannot be an alias: it has 1 to {MAX_ALIAS_CHARS} characters, the first no underscore",
        )
    return name


def parse_path(text: str) -> Path:
    """Raises `Invalid` (`alias.path`)."""
    typed = text.strip()
    if len(typed) > MAX_PATH_CHARS:
        raise Invalid("alias.path", f"the path has {len(typed)} characters, at most {MAX_PATH_CHARS} are allowed")
    if not typed.startswith("$"):
        raise Invalid("alias.path", f'{typed[:80]!r} is no path: it begins with $, as in $["Device"]["Temp"]')
    steps: list[str | int] = []
    at = 1
    while at < len(typed):
        step = _STEP.match(typed, at)
        if step is None:
            raise Invalid(
                "alias.path",
                f"the path cannot be read at character {at + 1}, {typed[at : at + 20]!r}: after $ come names in "
                'brackets, as in $["Device"]["Temp"]',
            )
        steps.append(_step(step))
        at = step.end()
    if not steps:
        raise Invalid("alias.path", "the path names no place; $ alone is the whole message")
    return tuple(steps)


def _step(found: re.Match[str]) -> str | int:
    if found["index"] is not None:
        return int(found["index"])
    quoted = found["double"] if found["double"] is not None else found["single"]
    return found["plain"] if quoted is None else _ESCAPED.sub(r"\1", quoted)


def encode_path(path: Path) -> str:
    """As IoT Central writes it: `$["Device"]["Temp"]`."""
    escaped = (step if isinstance(step, int) else step.replace("\\", "\\\\").replace('"', '\\"') for step in path)
    return "$" + "".join(f"[{each}]" if isinstance(each, int) else f'["{each}"]' for each in escaped)


def map_data(aliases: Iterable[Alias], body: Any) -> dict[str, Any]:
    """What the aliases find in `body`, by alias (MAP-3)."""
    mapped: dict[str, Any] = {}
    for each in aliases:
        value, is_there = body, True
        for step in each.path:
            if isinstance(step, str) and isinstance(value, Mapping) and step in value:
                value = value[step]
            elif isinstance(step, int) and isinstance(value, list) and step < len(value):
                value = value[step]
            else:
                is_there = False
                break
        if is_there:
            mapped[each.alias] = value
    return mapped


class Aliases:
    """The aliases of devices that an actor sees. Everything raises `NotFound` (`device.unknown`)."""

    def __init__(self, hub: HubId, store: Store[AliasTables], models: DeviceModels) -> None:
        self._hub = hub
        self._store = store
        self._models = models

    def of_device(self, actor: Actor, device_id: DeviceId) -> list[Alias]:
        self._models.get(actor, device_id)
        return self._store.read().aliases.of_device(self._hub, device_id)

    async def put(self, actor: Actor, device_id: DeviceId, alias: str, path: str) -> None:
        """Raises `Invalid` (`alias.name`, `alias.path`), `TooLarge` (`alias.too_many`) and `NotFound`
        (`device.not_found`) for a device that never registered."""
        self._models.get(actor, device_id)
        made = Alias(parse_alias(alias), parse_path(path))

        def work(tables: AliasTables) -> None:
            find_in(tables, self._hub, IdentityName(device_id))
            others = [each for each in tables.aliases.of_device(self._hub, device_id) if each.alias != made.alias]
            if len(others) >= MAX_ALIASES:
                raise TooLarge(
                    "alias.too_many", f"'{device_id}' has {len(others)} aliases, at most {MAX_ALIASES} are kept"
                )
            tables.aliases.put(self._hub, device_id, made)

        await self._store.write(work)
        self._tell("alias.stored", device_id, made.alias, actor)

    async def delete(self, actor: Actor, device_id: DeviceId, alias: str) -> None:
        """Also when there is none of that name."""
        self._models.get(actor, device_id)
        if await self._store.write(lambda tables: tables.aliases.delete(self._hub, device_id, alias)):
            self._tell("alias.deleted", device_id, alias, actor)

    def _tell(self, event: str, device_id: DeviceId, alias: str, actor: Actor) -> None:
        facts = {"hub": self._hub, "device": device_id, "alias": alias, "by": actor.name}
        audit.info("%s hub=%s device=%s alias=%r by=%s", event, *facts.values(), extra={"event": event, "facts": facts})
