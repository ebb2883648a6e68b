"""Device groups: stored queries that are asked anew whenever somebody wants to know who belongs (central.md 11).

    jobs, dashboards, data explorer ──► Groups.members(actor, id) ──► the query, over what the actor sees

Every published template has a group of all its devices (DG-3), which is not stored: it is there as long as the template
is. A group belongs to an organisation; its members are in that one or below it, and of those an actor is told of the
ones that it sees.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple, NewType, Protocol

from moorage.accounts.model import Actor, OrganizationId
from moorage.accounts.organizations import ROOT, Tree
from moorage.clock import Clock
from moorage.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed, TooLarge
from moorage.fleet.group_query import GroupQuery, device_row, parse_group_query, write
from moorage.fleet.limits import OURS, Limits
from moorage.fleet.model import DeviceFilter, DeviceRecord, FleetTables, TemplateId
from moorage.fleet.template_model import TemplateTables
from moorage.hub.model import HubTables
from moorage.ids import DeviceId, ETag, HubId, IdentityName
from moorage.store import Store

__all__ = [
    "DEFAULT_PREFIX",
    "DeviceGroup",
    "DeviceGroupId",
    "GroupDraft",
    "GroupTable",
    "GroupTables",
    "Groups",
    "Listed",
    "Members",
    "Preview",
    "default_group_id",
    "parse_group_id",
]

audit = logging.getLogger("moorage.audit")

DeviceGroupId = NewType("DeviceGroupId", str)

MAX_NAME: Final = 128
MAX_DESCRIPTION: Final = 1_024
# Of groups that come with a template; no other has it.
DEFAULT_PREFIX: Final = "all-"
# central.md ID-7
_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,255}")
# Devices that one scan looks at.
_PIECE: Final = 500
# And one page, where each has to be looked at.
LOOKED_AT: Final = 2_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_group_id(text: str) -> DeviceGroupId:
    """Raises `Invalid` (`device_group.id`)."""
    if not _ID.fullmatch(text):
        raise Invalid("device_group.id", f"{text[:80]!r} is no id of a group: 1 to 255 letters, digits, - and _")
    return DeviceGroupId(text)


@dataclass(frozen=True, slots=True)
class DeviceGroup:
    """`query` is its text, as it was given; `is_default` says that it came with its template."""

    hub: HubId
    group_id: DeviceGroupId
    display_name: str
    description: str
    query: str
    organization: OrganizationId
    created: datetime
    version: int = 1
    is_default: bool = False

    @property
    def etag(self) -> ETag:
        return ETag(f"{int(self.created.timestamp() * 1_000_000):014x}-{self.version:08x}")

    @property
    def parsed(self) -> GroupQuery:
        return parse_group_query(self.query)


@dataclass(frozen=True, slots=True)
class GroupDraft:
    display_name: str
    query: str
    description: str = ""
    organization: OrganizationId = ROOT


class Listed(NamedTuple):
    """`size` is None where each device would have to be looked at."""

    group: DeviceGroup
    query: GroupQuery
    size: int | None


class Members(NamedTuple):
    """Some devices in the order of their ids; `after` is where the next begin, '' when there are no more."""

    devices: list[DeviceRecord]
    after: str


@dataclass(frozen=True, slots=True)
class Preview:
    """`count` members are among the first `looked_at` devices of the template, which are all when `is_whole`."""

    devices: list[DeviceRecord]
    count: int
    looked_at: int
    is_whole: bool


class GroupTable(Protocol):
    """Stored groups, keyed by (hub, group id)."""

    def find(self, hub: HubId, group_id: DeviceGroupId) -> DeviceGroup | None: ...

    def all(self, hub: HubId) -> list[DeviceGroup]:
        """In the order of their names."""

    def put(self, group: DeviceGroup) -> None: ...

    def delete(self, hub: HubId, group_id: DeviceGroupId) -> None: ...


class GroupTables(FleetTables, HubTables, TemplateTables, Protocol):
    @property
    def device_groups(self) -> GroupTable: ...


class Groups:
    """The device groups of one hub's application."""

    def __init__(self, hub: HubId, store: Store[GroupTables], clock: Clock, limits: Limits = OURS) -> None:
        self._hub = hub
        self._store = store
        self._clock = clock
        self._limits = limits

    # -- groups --------------------------------------------------------------------------------------------------------

    async def list(self, actor: Actor) -> list[DeviceGroup]:
        """Those that the actor sees, by name."""
        return await self._store.scan(lambda tables: self._list(tables, actor))

    async def listed(self, actor: Actor) -> builtins.list[Listed]:
        """The same, with what a list says of each."""

        def work(tables: GroupTables) -> builtins.list[Listed]:
            tallies = tables.devices.tallies(self._hub)
            found = []
            for group in self._list(tables, actor):
                query, count = group.parsed, None
                if query.rows == ():
                    # The template alone: these are counted anyway. Of others each device would have to be looked at.
                    wanted = DeviceFilter(
                        template=query.template, organizations=self._organizations(tables, actor, group)
                    )
                    count = sum(each.devices for each in tallies if each.fits(wanted))
                found.append(Listed(group, query, count))
            return found

        return await self._store.scan(work)

    def _list(self, tables: GroupTables, actor: Actor) -> builtins.list[DeviceGroup]:
        stored = [group for group in tables.device_groups.all(self._hub) if actor.sees(group.organization)]
        return sorted(
            [*self._defaults(tables), *stored], key=lambda group: (group.display_name.casefold(), group.group_id)
        )

    def get(self, actor: Actor, group_id: DeviceGroupId) -> DeviceGroup:
        """Raises `NotFound` (`device_group.unknown`)."""
        return self.get_in(self._store.read(), actor, group_id)

    def get_in(self, tables: GroupTables, actor: Actor, group_id: DeviceGroupId) -> DeviceGroup:
        if group_id.startswith(DEFAULT_PREFIX):
            found = next((each for each in self._defaults(tables) if each.group_id == group_id), None)
        else:
            found = tables.device_groups.find(self._hub, group_id)
            if found is not None and not actor.sees(found.organization):
                found = None
        if found is None:
            raise NotFound("device_group.unknown", f"there is no device group '{group_id[:80]}'")
        return found

    async def put(
        self,
        actor: Actor,
        group_id: DeviceGroupId,
        draft: GroupDraft,
        *,
        if_match: ETag | None = None,
        is_new: bool = False,
    ) -> DeviceGroup:
        """Create or replace. Nothing is stored unless all of it is right (DG-8).

        Raises:
            Invalid: `query.*` pointing at the place, `device_group.name`.
            NotFound: `organization.unknown`, `template.unknown`.
            Conflict: `device_group.exists` for a new one whose id is taken.
            Forbidden: `device_group.default`.
            PreconditionFailed: `etag.stale`.
            TooLarge: `device_group.number`.
        """
        _check_own(group_id)
        now = self._clock.now()

        def work(tables: GroupTables) -> DeviceGroup:
            draft_ = self._checked(tables, actor, draft)
            present = tables.device_groups.find(self._hub, group_id)
            if present is not None and (is_new or not actor.sees(present.organization)):
                raise Conflict("device_group.exists", f"there is a device group '{group_id}' already")
            if present is None and len(tables.device_groups.all(self._hub)) >= self._limits.groups:
                raise TooLarge("device_group.number", f"an application has at most {self._limits.groups} device groups")
            _check_current(present, group_id, if_match)
            stored = DeviceGroup(
                self._hub,
                group_id,
                draft_.display_name,
                draft_.description,
                draft_.query,
                draft_.organization,
                now if present is None else present.created,
                1 if present is None else present.version + 1,
            )
            tables.device_groups.put(stored)
            return stored

        stored = await self._store.write(work)
        self._tell("device_group.created" if stored.version == 1 else "device_group.changed", actor, stored)
        return stored

    async def delete(self, actor: Actor, group_id: DeviceGroupId, *, if_match: ETag | None = None) -> None:
        """Raises `NotFound` (`device_group.unknown`), `Forbidden` (`device_group.default`), `PreconditionFailed`."""
        _check_own(group_id)

        def work(tables: GroupTables) -> DeviceGroup:
            present = self.get_in(tables, actor, group_id)
            _check_current(present, group_id, if_match)
            tables.device_groups.delete(self._hub, group_id)
            return present

        self._tell("device_group.deleted", actor, await self._store.write(work))

    # -- members -------------------------------------------------------------------------------------------------------

    async def members(self, actor: Actor, group_id: DeviceGroupId, limit: int = 100, after: str = "") -> Members:
        """Raises `NotFound` (`device_group.unknown`)."""
        return await self._members(actor, self.get(actor, group_id), limit, after)

    async def preview(self, actor: Actor, draft: GroupDraft, shown: int) -> Preview:
        """Who would belong to a group that is not stored. Raises `Invalid` (`query.*`), `NotFound`."""
        await _prepare(draft.query)
        group = DeviceGroup(self._hub, DeviceGroupId(""), "", "", draft.query, draft.organization, self._clock.now())
        return await self.look(actor, group, shown)

    async def look(self, actor: Actor, group: DeviceGroup, shown: int) -> Preview:
        """The first `shown` members, and how many there are as far as a page has time to look."""
        await _prepare(group.query)
        if group.parsed.rows == ():
            first = await self._members(actor, group, shown, "")
            count = await self.count_of(actor, group)
            return Preview(first.devices, count, count, is_whole=True)

        def work(tables: GroupTables) -> Preview:
            found: builtins.list[DeviceRecord] = []
            after, looked_at = "", 0
            while True:
                records, after = self._piece(tables, actor, group, _PIECE, after)
                found += records
                looked_at += _PIECE
                if not after or looked_at >= LOOKED_AT:
                    return Preview(found[:shown], len(found), looked_at, is_whole=not after)

        return await self._store.scan(work)

    async def count(self, actor: Actor, group_id: DeviceGroupId, most: int = 10_000) -> int:
        """How many belong; more than `most` are not looked at where each has to be."""
        return await self.count_of(actor, self.get(actor, group_id), most)

    async def count_of(self, actor: Actor, group: DeviceGroup, most: int = 10_000) -> int:
        await _prepare(group.query)
        query = group.parsed
        if query.rows == ():
            # The template alone: these are counted anyway.
            seen = self._organizations(self._store.read(), actor, group)
            wanted = DeviceFilter(template=query.template, organizations=seen)
            return sum(each.devices for each in self._store.read().devices.tallies(self._hub) if each.fits(wanted))
        return len((await self._members(actor, group, most, "")).devices)

    async def _members(self, actor: Actor, group: DeviceGroup, limit: int, after: str) -> Members:
        found: builtins.list[DeviceRecord] = []
        while True:
            piece = partial(self._piece, actor=actor, group=group, limit=limit - len(found), after=after)
            records, after = await self._store.scan(piece)
            found += records
            if not after or len(found) >= limit:
                return Members(found, after)

    def _piece(
        self, tables: GroupTables, actor: Actor, group: DeviceGroup, limit: int, after: str
    ) -> tuple[builtins.list[DeviceRecord], str]:
        """Of the next `_PIECE` candidates those that belong, at most `limit`, and where to go on."""
        query = group.parsed
        wanted = DeviceFilter(template=query.template, organizations=self._organizations(tables, actor, group))
        ids = tables.devices.ids(self._hub, wanted, _PIECE, after)
        found: builtins.list[DeviceRecord] = []
        for record in tables.devices.find_many(self._hub, ids):
            if self._takes(tables, query, record):
                found.append(record)
                if len(found) == limit:
                    is_last = len(ids) < _PIECE and record.device_id == ids[-1]
                    return found, "" if is_last else record.device_id
        return found, ids[-1] if len(ids) == _PIECE else ""

    def _takes(self, tables: GroupTables, query: GroupQuery, record: DeviceRecord) -> bool:
        if not query.needs_properties:
            return query.takes(device_row(record, None, {}))
        twin = tables.twins.find(self._hub, IdentityName(DeviceId(record.device_id)))
        cloud = tables.devices.cloud_properties(self._hub, record.device_id)
        return query.takes(device_row(record, twin, cloud))

    def _organizations(self, tables: GroupTables, actor: Actor, group: DeviceGroup) -> frozenset[OrganizationId] | None:
        """Of the group's organisation and those below it what the actor sees; None is all."""
        if group.organization == ROOT:
            return actor.organizations
        within = Tree(tables.organizations.all(self._hub)).subtree(group.organization)
        return within if actor.organizations is None else within & actor.organizations

    # ------------------------------------------------------------------------------------------------------------------

    def _defaults(self, tables: GroupTables) -> builtins.list[DeviceGroup]:
        return [
            DeviceGroup(
                self._hub,
                default_group_id(each.template_id),
                f"{each.display_name} - All devices",
                "Every device of this template.",
                write(each.template_id, ()),
                ROOT,
                _EPOCH,
                is_default=True,
            )
            for each in tables.templates.summaries(self._hub)
            if each.is_published
        ]

    def _checked(self, tables: GroupTables, actor: Actor, draft: GroupDraft) -> GroupDraft:
        name, description = draft.display_name.strip(), draft.description.strip()
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise Invalid("device_group.name", f"a group has a name of 1 to {MAX_NAME} characters on one line")
        if len(description) > MAX_DESCRIPTION:
            raise Invalid(
                "device_group.name",
                f"a description has at most {MAX_DESCRIPTION} characters, this has {len(description)}",
                field="description",
            )
        query = parse_group_query(draft.query)
        published = [each.template_id for each in tables.templates.summaries(self._hub) if each.is_published]
        if query.template not in published:
            raise NotFound("template.unknown", f"there is no published template {query.template[:140]!r}")
        organization = draft.organization
        is_there = organization == ROOT or tables.organizations.find(self._hub, organization) is not None
        if not is_there or not actor.sees(organization):
            raise NotFound("organization.unknown", f"there is no organization '{organization[:60]}'")
        return replace(draft, display_name=name, description=description)

    def _tell(self, event: str, actor: Actor, group: DeviceGroup) -> None:
        facts = {
            "hub": self._hub,
            "group": group.group_id,
            "name": group.display_name,
            "query": group.query[:500],
            "organization": group.organization or "(the root)",
            "by": actor.name,
        }
        line = " ".join(f"{name}=%r" for name in facts)
        audit.info(f"{event} {line}", *facts.values(), extra={"event": event, "facts": facts})


def default_group_id(template_id: TemplateId) -> DeviceGroupId:
    """`all-com-example-Pump-1` of `dtmi:com:example:Pump;1`."""
    plain = re.sub(r"[^a-zA-Z0-9_-]", "-", template_id.removeprefix("dtmi:"))
    return DeviceGroupId(DEFAULT_PREFIX + plain[: 255 - len(DEFAULT_PREFIX)])


async def _prepare(query: str) -> None:
    """Have it parsed, which the loop has no time for where it is long; it is remembered. Raises `Invalid`."""
    await asyncio.to_thread(parse_group_query, query)


def _check_own(group_id: DeviceGroupId) -> None:
    if group_id.startswith(DEFAULT_PREFIX):
        raise Forbidden(
            "device_group.default",
            f"'{group_id}' comes with its template and goes with it, as all whose id begins with {DEFAULT_PREFIX!r}",
        )


def _check_current(present: DeviceGroup | None, group_id: DeviceGroupId, if_match: ETag | None) -> None:
    if if_match is not None and (present is None or present.etag != if_match):
        now_at = "is gone" if present is None else f"is at {str(present.etag)!r}"
        raise PreconditionFailed(
            "etag.stale",
            f"the device group '{group_id}' changed since you read it (you hold {if_match!r}, it {now_at})",
        )
