"""Organisations: a tree of tenants inside one application (contract/central.md ORG-1 to ORG-6).

    '' (the root, no row) ─┬─ plant-north ─┬─ line-1        whoever belongs to plant-north sees plant-north, line-1 and
                           │               └─ line-2        line-2, and neither plant-south nor what lies at the root
                           └─ plant-south

What belongs to a node stands in a column `organization_id` of many tables; the tables tell how much that is, so a node
that still holds something is not deleted unless all of it moves elsewhere.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from moorage.accounts.model import Actor, OrganizationId
from moorage.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge
from moorage.events import Event, Outbox
from moorage.ids import HubId, check_etag
from moorage.store import Store

__all__ = [
    "DEVICES",
    "MAX_DEPTH",
    "MAX_ORGANIZATIONS",
    "PEOPLE",
    "ROOT",
    "Organization",
    "OrganizationTable",
    "OrganizationTables",
    "Organizations",
    "Tree",
    "parse_organization_id",
    "parse_organization_name",
]

audit = logging.getLogger("moorage.audit")

ROOT: Final = OrganizationId("")
# ORG-1.
MAX_DEPTH: Final = 5
MAX_ORGANIZATIONS: Final = 200
_MAX_NAME: Final = 128
# ID-9.
_ID: Final = re.compile(r"(?!-)[a-z0-9-]{1,47}[a-z0-9]")
DEVICES: Final = "devices"
# Whose role says what they may do where they belong, so they cannot move to the root (USR-5).
PEOPLE: Final = frozenset({"users", "API tokens"})


def parse_organization_id(text: str) -> OrganizationId:
    """Raises `Invalid` (`organization.id`)."""
    if not _ID.fullmatch(text):
        raise Invalid(
            "organization.id",
            f"{text[:60]!r} is no id of an organization: 2 to 48 of a-z 0-9 and -, with no - at either end",
        )
    return OrganizationId(text)


def parse_organization_name(text: str) -> str:
    """Raises `Invalid` (`organization.name`)."""
    name = " ".join(text.split())
    if not name or len(name) > _MAX_NAME or not name.isprintable():
        raise Invalid(
            "organization.name", f"a name has 1 to {_MAX_NAME} printable characters, this one has {len(name)}"
        )
    return name


@dataclass(frozen=True, slots=True)
class Organization:
    """One node. `parent` is '' for a child of the root."""

    hub: HubId
    organization_id: OrganizationId
    display_name: str
    parent: OrganizationId = ROOT
    version: int = 1

    @property
    def etag(self) -> str:
        return str(self.version)


class OrganizationTable(Protocol):
    """The nodes, and how much hangs on each of them."""

    def find(self, hub: HubId, organization_id: OrganizationId) -> Organization | None: ...

    def all(self, hub: HubId) -> list[Organization]:
        """In the order of their ids."""

    def put(self, organization: Organization) -> None: ...

    def delete(self, hub: HubId, organization_id: OrganizationId) -> None: ...

    def held(self, hub: HubId, organization_id: OrganizationId) -> dict[str, int]:
        """How many of what belong to it itself, in words (`devices`, `users`, `API tokens`), nothing that is none."""

    def move(self, hub: HubId, organization_id: OrganizationId, to: OrganizationId, *, only: str = "") -> None:
        """Give all of that, or what has that one word, to another node."""


class OrganizationTables(Protocol):
    @property
    def organizations(self) -> OrganizationTable: ...

    @property
    def outbox(self) -> Outbox: ...


class Tree:
    """All nodes at one moment. A parent that is none counts as the root."""

    __slots__ = ("_children", "nodes")

    def __init__(self, organizations: Iterable[Organization]) -> None:
        self.nodes: Mapping[OrganizationId, Organization] = {each.organization_id: each for each in organizations}
        self._children: dict[OrganizationId, list[OrganizationId]] = {}
        for each in self.nodes.values():
            parent = each.parent if each.parent in self.nodes else ROOT
            self._children.setdefault(parent, []).append(each.organization_id)

    def children(self, organization_id: OrganizationId) -> list[OrganizationId]:
        return list(self._children.get(organization_id, ()))

    def subtree(self, organization_id: OrganizationId) -> frozenset[OrganizationId]:
        """It and all below it."""
        found: set[OrganizationId] = set()
        waiting = [organization_id]
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting += self._children.get(each, ())
        return frozenset(found)

    def path(self, organization_id: OrganizationId) -> list[Organization]:
        """From below the root down to it; nothing for the root."""
        found: list[Organization] = []
        at = self.nodes.get(organization_id)
        while at is not None and at not in found:
            found.append(at)
            at = self.nodes.get(at.parent)
        return found[::-1]

    def depth(self, organization_id: OrganizationId) -> int:
        """0 for the root, 1 for its children."""
        return len(self.path(organization_id))

    def height(self, organization_id: OrganizationId) -> int:
        """How many levels it has, itself included."""
        top = self.depth(organization_id)
        return max(self.depth(each) for each in self.subtree(organization_id)) - top + 1

    def in_order(self, below: OrganizationId = ROOT) -> list[tuple[int, Organization]]:
        """(depth, node), every parent before its children and those by name: what a page shows as a tree."""
        found: list[tuple[int, Organization]] = []
        nodes = sorted(
            (self.nodes[each] for each in self.children(below)), key=lambda node: node.display_name.casefold()
        )
        for node in nodes:
            found.append((self.depth(node.organization_id), node))
            found += self.in_order(node.organization_id)
        return found


class Organizations:
    """The tree of one hub's application. Actors see and change what lies below their own node."""

    def __init__(self, hub: HubId, store: Store[OrganizationTables]) -> None:
        self._hub = hub
        self._store = store

    def tree(self) -> Tree:
        return Tree(self._store.read().organizations.all(self._hub))

    def all(self) -> list[Organization]:
        return self._store.read().organizations.all(self._hub)

    def subtree(self, organization_id: OrganizationId) -> frozenset[OrganizationId]:
        """It and all below it."""
        return self.tree().subtree(organization_id)

    def path(self, organization_id: OrganizationId) -> list[Organization]:
        """From below the root down to it."""
        return self.tree().path(organization_id)

    def seen_by(self, actor: Actor) -> list[tuple[int, Organization]]:
        """(depth, node) of all that it sees, as a tree is shown."""
        return [(depth, node) for depth, node in self.tree().in_order() if actor.sees(node.organization_id)]

    def get(self, actor: Actor, organization_id: OrganizationId) -> Organization:
        """Raises `NotFound` (`organization.unknown`)."""
        return _get(self._store.read(), self._hub, actor, organization_id)

    async def all_held(self, ids: Sequence[OrganizationId]) -> dict[OrganizationId, dict[str, int]]:
        """How many of what belong to each itself."""
        return await self._store.scan(lambda tables: {each: tables.organizations.held(self._hub, each) for each in ids})

    def choose(self, actor: Actor, text: str) -> OrganizationId:
        """What a form or a call says of an organisation; '' is the root. Raises `NotFound` (`organization.unknown`)."""
        if text == ROOT and actor.sees(ROOT):
            return ROOT
        return self.get(actor, OrganizationId(text)).organization_id

    async def create(
        self, actor: Actor, organization_id: OrganizationId, display_name: str, parent: OrganizationId
    ) -> Organization:
        """Raises `NotFound` (`organization.unknown`), `Conflict` (`organization.exists`), `TooLarge` (see `put`)."""
        return await self._put(actor, Organization(self._hub, organization_id, display_name, parent), None, is_new=True)

    async def put(
        self,
        actor: Actor,
        organization_id: OrganizationId,
        display_name: str,
        parent: OrganizationId,
        *,
        if_match: str | None = None,
    ) -> Organization:
        """Create or replace.

        Raises:
            NotFound: `organization.unknown`, the parent or the node is not there or not the actor's to see.
            Forbidden: `organization.own`, whoever belongs to a node changes what is below it.
            Conflict: `organization.cycle`, below itself.
            TooLarge: `organization.number`, `organization.depth`.
            PreconditionFailed: `etag.stale`.
        """
        return await self._put(
            actor, Organization(self._hub, organization_id, display_name, parent), if_match, is_new=False
        )

    async def delete(
        self, actor: Actor, organization_id: OrganizationId, *, move_to: OrganizationId | None = None
    ) -> None:
        """Delete a node; what it holds, and its children, go to `move_to`.

        Raises:
            NotFound: `organization.unknown`.
            Forbidden: `organization.own`.
            Conflict: `organization.not_empty` where it holds something and no place is given; `organization.cycle` for
                a place below it; `organization.people` where users or tokens would come to the root.
            TooLarge: `organization.depth`.
        """

        def work(tables: OrganizationTables) -> Organization:
            node = _get(tables, self._hub, actor, organization_id)
            _check_not_own(actor, organization_id)
            tree = Tree(tables.organizations.all(self._hub))
            held = tables.organizations.held(self._hub, organization_id)
            children = tree.children(organization_id)
            if move_to is None and (held or children):
                counts = [f"{count} {what}" for what, count in sorted(held.items())]
                if children:
                    counts.append(f"{len(children)} organizations below it")
                raise Conflict(
                    "organization.not_empty", f"'{organization_id}' holds {', '.join(counts)}; say where they go"
                )
            if move_to is not None:
                self._move(tables, actor, tree, node, move_to, held)
            tables.organizations.delete(self._hub, organization_id)
            tables.outbox.emit(Event("organizations.changed", self._hub, organization_id))
            return node

        node = await self._store.write(work)
        self._tell(
            "organization.deleted", actor, node, **({} if move_to is None else {"moved_to": move_to or "(the root)"})
        )

    async def move_devices(self, actor: Actor, organization_id: OrganizationId, to: OrganizationId) -> int:
        """Give all devices of a node to another, and say how many. Raises `NotFound` (`organization.unknown`)."""

        def work(tables: OrganizationTables) -> tuple[Organization, int]:
            node = _get(tables, self._hub, actor, organization_id)
            _check_seen(tables, self._hub, actor, to)
            count = tables.organizations.held(self._hub, organization_id).get(DEVICES, 0)
            tables.organizations.move(self._hub, organization_id, to, only=DEVICES)
            return node, count

        node, count = await self._store.write(work)
        self._tell("organization.devices_moved", actor, node, moved_to=to or "(the root)", devices=str(count))
        return count

    def _move(
        self,
        tables: OrganizationTables,
        actor: Actor,
        tree: Tree,
        node: Organization,
        move_to: OrganizationId,
        held: Mapping[str, int],
    ) -> None:
        _check_seen(tables, self._hub, actor, move_to)
        _check_fits(tree, node, move_to, extra=-1)
        people = {what: count for what, count in held.items() if what in PEOPLE}
        if people and move_to == ROOT:
            counts = " and ".join(f"{count} {what}" for what, count in people.items())
            raise Conflict(
                "organization.people", f"{counts} have roles of organizations, which nobody has at the root; move them"
            )
        tables.organizations.move(self._hub, node.organization_id, move_to)
        for child in tree.children(node.organization_id):
            moved = tree.nodes[child]
            tables.organizations.put(replace(moved, parent=move_to, version=moved.version + 1))

    async def _put(self, actor: Actor, wanted: Organization, if_match: str | None, *, is_new: bool) -> Organization:
        organization_id = wanted.organization_id

        def work(tables: OrganizationTables) -> tuple[Organization | None, Organization]:
            present = tables.organizations.find(self._hub, organization_id)
            tree = Tree(tables.organizations.all(self._hub))
            if present is not None:
                if is_new or not actor.sees(organization_id):
                    # Ids are the application's: who may not see a node learns only that the id is taken.
                    raise Conflict("organization.exists", f"there is an organization '{organization_id}' already")
                _check_not_own(actor, organization_id)
                check_etag(f"the organization '{organization_id}'", if_match, present.etag)
            elif len(tree.nodes) >= MAX_ORGANIZATIONS:
                raise TooLarge("organization.number", f"an application has at most {MAX_ORGANIZATIONS} organizations")
            _check_seen(tables, self._hub, actor, wanted.parent)
            _check_fits(tree, wanted, wanted.parent)
            stored = wanted if present is None else replace(wanted, version=present.version + 1)
            tables.organizations.put(stored)
            tables.outbox.emit(Event("organizations.changed", self._hub, organization_id))
            return present, stored

        before, stored = await self._store.write(work)
        if before is None:
            self._tell("organization.created", actor, stored)
        else:
            was = {"name_before": before.display_name, "parent_before": before.parent or "(the root)"}
            self._tell("organization.changed", actor, stored, **was)
        return stored

    def _tell(self, event: str, actor: Actor, node: Organization, **more: str) -> None:
        facts = {
            "hub": self._hub,
            "organization": node.organization_id,
            "name": node.display_name,
            "parent": node.parent or "(the root)",
            **more,
            "by": actor.name,
        }
        line = " ".join(f"{name}=%s" for name in facts)
        audit.info(f"{event} {line}", *facts.values(), extra={"event": event, "facts": facts})


def _get(tables: OrganizationTables, hub: HubId, actor: Actor, organization_id: OrganizationId) -> Organization:
    found = tables.organizations.find(hub, organization_id) if actor.sees(organization_id) else None
    if found is None:
        raise NotFound("organization.unknown", f"there is no organization '{organization_id[:60]}'")
    return found


def _check_seen(tables: OrganizationTables, hub: HubId, actor: Actor, organization_id: OrganizationId) -> None:
    """Raises `NotFound` (`organization.unknown`) for what is neither the root nor a node, or not the actor's."""
    if organization_id != ROOT or not actor.sees(ROOT):
        _get(tables, hub, actor, organization_id)


def _check_not_own(actor: Actor, organization_id: OrganizationId) -> None:
    if actor.organization == organization_id:
        raise Forbidden("organization.own", f"{actor.name} belongs to '{organization_id}' and changes what is below it")


def _check_fits(tree: Tree, node: Organization, parent: OrganizationId, *, extra: int = 0) -> None:
    """Whether `node` with all below it may hang under `parent`. Raises `Conflict`, `TooLarge`."""
    organization_id = node.organization_id
    is_known = organization_id in tree.nodes
    if is_known and parent in tree.subtree(organization_id):
        raise Conflict("organization.cycle", f"'{parent}' is '{organization_id}' itself or lies below it")
    depth = tree.depth(parent) + (tree.height(organization_id) if is_known else 1) + extra
    if depth > MAX_DEPTH:
        raise TooLarge("organization.depth", f"this makes {depth} levels; an application has at most {MAX_DEPTH}")
