"""Many identities in one request: what to do with each, and doing it (contract/services.md 2.6).

An item names one device or module, what to do with it, and what it shall be, its twin included. Items are applied in
their order, in one transaction. Each is whole or not at all, in a savepoint of its own: one that is refused takes
nothing along, and the others stand.

What an item says of the twin:

    create                  the first twin, reported properties included, as an export has them
    update                  tags and desired properties, where given, are put in place of the present ones
    createOrUpdate          whichever of the two applies; also where no mode is given
    updateTwin              tags and desired properties are merged; the identity stays as it is
    delete                  nothing

A device that comes from another hub names scopes with generation ids of that hub. With `rebase`, an edge device's own
scope is made anew, and a parent is looked up by its device id.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from moorage.clock import Clock
from moorage.errors import Invalid, Refusal
from moorage.hub.model import HubTables
from moorage.hub.twins import TwinChange, initial_twin, patch_twin, replace_twin, report, write_twin_in
from moorage.identities.model import Identity
from moorage.identities.registry import (
    IdentityDraft,
    audit_identity,
    create_in,
    delete_in,
    edge_scope,
    update_in,
)
from moorage.ids import DeviceId, ETag, HubId, IdentityName
from moorage.store import Store

__all__ = [
    "MAX_ITEMS",
    "BulkItem",
    "BulkService",
    "ImportMode",
    "Outcome",
    "apply_item",
    "audit_outcomes",
    "refuse_twice",
]

# contract/services.md 2.6
MAX_ITEMS: Final = 100

ImportMode = Literal[
    "create",
    "update",
    "updateIfMatchETag",
    "createOrUpdate",
    "createOrUpdateIfMatchETag",
    "delete",
    "deleteIfMatchETag",
    "updateTwin",
    "updateTwinIfMatchETag",
]

_EDGE_SCOPE = re.compile(r"ms-azure-iot-edge://(?P<device>.{1,128})-[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class BulkItem:
    """One identity and what to do with it. `etag` and `twin_etag` are for the modes that compare; None fits any.

    `tags`, `desired` and `reported` are None where nothing was said.
    """

    mode: ImportMode
    draft: IdentityDraft
    etag: ETag | None = None
    twin_etag: ETag | None = None
    tags: Mapping[str, Any] | None = None
    desired: Mapping[str, Any] | None = None
    reported: Mapping[str, Any] | None = None

    @property
    def name(self) -> IdentityName:
        return self.draft.name


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item: the identity as it was left (as it was, when `done` is deleted), or why not."""

    done: Literal["created", "updated", "deleted", "twin_updated"] | None
    identity: Identity | None
    refusal: Refusal | None = None


class BulkService:
    """Applies what a request holds; its changes are in the audit log."""

    def __init__(self, store: Store[HubTables], clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def apply(
        self, hub: HubId, items: Sequence[BulkItem | Refusal], *, rebase: bool = False, by: object = None
    ) -> list[Outcome]:
        """One outcome an item, in order. What is a `Refusal` already stays one, and so does what is named twice."""
        now = self._clock.now()
        checked = refuse_twice(items)

        def work(tables: HubTables) -> list[Outcome]:
            return [
                Outcome(None, None, item)
                if isinstance(item, Refusal)
                else apply_item(tables, hub, item, now, rebase=rebase)
                for item in checked
            ]

        outcomes = await self._store.write(work)
        # A line of the log for each; who writes it holds the interpreter, and the loop has devices to answer.
        await asyncio.to_thread(audit_outcomes, outcomes, by)
        return outcomes


def refuse_twice(items: Sequence[BulkItem | Refusal]) -> list[BulkItem | Refusal]:
    """`items`, with a refusal (`bulk.twice`) for all that name the same: nobody said which of them counts."""
    counts = Counter(item.name for item in items if isinstance(item, BulkItem))
    return [
        Invalid("bulk.twice", f"'{item.name}' is named {counts[item.name]} times; a request has one operation for each")
        if isinstance(item, BulkItem) and counts[item.name] > 1
        else item
        for item in items
    ]


def apply_item(tables: HubTables, hub: HubId, item: BulkItem, now: datetime, *, rebase: bool = False) -> Outcome:
    """Apply one item inside the caller's transaction, whole or not at all."""
    try:
        with tables.savepoint():
            return _APPLY[item.mode](tables, hub, _rebased(tables, hub, item) if rebase else item, now)
    except Refusal as refusal:
        return Outcome(None, None, refusal)


def audit_outcomes(outcomes: Iterable[Outcome], by: object = None) -> None:
    """Write what was done to the audit log."""
    for outcome in outcomes:
        if outcome.identity is not None and outcome.done is not None:
            audit_identity(outcome.done, outcome.identity, by)


def _create(tables: HubTables, hub: HubId, item: BulkItem, now: datetime) -> Outcome:
    identity = create_in(tables, hub, item.draft, now, is_told=False)
    if item.tags or item.desired or item.reported:
        twin = initial_twin(hub, item.name, tags=item.tags or {}, desired=item.desired or {}, now=now)
        if item.reported:
            # A first version, as the other parts have.
            unreported = replace(twin, reported=replace(twin.reported, version=0))
            twin = replace(twin, reported=report(unreported, item.reported, now=now).reported)
        tables.twins.put(twin)
    tables.notifications.created(identity, now)
    return Outcome("created", identity)


def _update(tables: HubTables, hub: HubId, item: BulkItem, now: datetime) -> Outcome:
    etag = item.etag if item.mode.endswith("IfMatchETag") else None
    identity = update_in(tables, hub, item.draft, now, if_match=etag)
    if item.tags is not None or item.desired is not None:
        write_twin_in(tables, hub, item.name, TwinChange(item.tags, item.desired), replace_twin, now)
    return Outcome("updated", identity)


def _create_or_update(tables: HubTables, hub: HubId, item: BulkItem, now: datetime) -> Outcome:
    exists = tables.identities.find(hub, item.name) is not None
    return (_update if exists else _create)(tables, hub, item, now)


def _delete(tables: HubTables, hub: HubId, item: BulkItem, now: datetime) -> Outcome:
    etag = item.etag if item.mode == "deleteIfMatchETag" else None
    return Outcome("deleted", delete_in(tables, hub, item.name, if_match=etag))


def _update_twin(tables: HubTables, hub: HubId, item: BulkItem, now: datetime) -> Outcome:
    etag = item.twin_etag if item.mode == "updateTwinIfMatchETag" else None
    write_twin_in(tables, hub, item.name, TwinChange(item.tags, item.desired), patch_twin, now, etag)
    return Outcome("twin_updated", tables.identities.find(hub, item.name))


_APPLY: Final[dict[ImportMode, Callable[[HubTables, HubId, BulkItem, datetime], Outcome]]] = {
    "create": _create,
    "update": _update,
    "updateIfMatchETag": _update,
    "createOrUpdate": _create_or_update,
    "createOrUpdateIfMatchETag": _create_or_update,
    "delete": _delete,
    "deleteIfMatchETag": _delete,
    "updateTwin": _update_twin,
    "updateTwinIfMatchETag": _update_twin,
}


def _rebased(tables: HubTables, hub: HubId, item: BulkItem) -> BulkItem:
    draft = item.draft
    if draft.device_scope is None and not draft.parent_scopes:
        return item

    def here(scope: str) -> str | None:
        """The scope as this hub spells it; None for the identity's own, which is made anew."""
        match = _EDGE_SCOPE.fullmatch(scope)
        if match is None:
            return scope
        if match["device"] == draft.name.device_id:
            return None
        parent = tables.identities.find(hub, IdentityName(DeviceId(match["device"])))
        if parent is None or not parent.is_edge:
            return scope
        return edge_scope(parent.name.device_id, parent.generation_id)

    parents = None
    if draft.parent_scopes is not None:
        parents = tuple(scope for scope in map(here, draft.parent_scopes) if scope is not None)
    own = None if draft.device_scope is None else here(draft.device_scope)
    return replace(item, draft=replace(draft, device_scope=own, parent_scopes=parents))
