"""One identity brought to what the configurations that target it want, inside a transaction.

Idempotent, and complete by itself: whatever changed (the identity, its twin, a configuration), looking at the identity
again makes it right. What the documents say, and this does:

- Every configuration whose condition selects the identity targets it. Those that have a part in the result are
  `Applied`, the others stay `Targeted` (T-13).
- When a configuration goes, or no longer targets the identity, the sections that it set are taken out, and the next
  lower one that sets them takes over. What somebody else set in them in the meantime goes with them.
- While a configuration applies, its sections stay what it says: a change by hand is set back.
- Without a base deployment an edge device keeps the modules that it has, as they are, and nobody's layer is applied.
- When all of them together would make a twin too large, the lowest are left out until it fits; they stay `Targeted`.
  A deployment that does not fit the device leaves it as it is.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from moorage.errors import Invalid, Refusal
from moorage.hub.configuration_model import Applied, Configuration, ConfigurationId, ConfigurationTables, Status
from moorage.hub.edge import MANAGED_BY, decide_deployment, deploy_in, write_in
from moorage.hub.merging import Setting, apply_settings, effective
from moorage.hub.targets import Collection, Targets
from moorage.hub.twins import MAX_DESIRED_BYTES, fresh_twin, size_of
from moorage.identities.model import Identity
from moorage.ids import HubId, IdentityName, ModuleId

__all__ = ["Book", "decide_settings", "is_readable", "reconcile_in"]

log = logging.getLogger(__name__)

# Sets of configurations of which a book remembers how many of them a twin can hold.
_MOST_SETS = 1_000


@dataclass(frozen=True, slots=True)
class Book:
    """All configurations of a hub at one revision, by kind."""

    revision: int
    device: tuple[Configuration, ...] = ()
    module: tuple[Configuration, ...] = ()
    edge: tuple[Configuration, ...] = ()
    _left_out: dict[tuple[ConfigurationId, ...], int] = field(default_factory=dict, init=False, compare=False)

    def left_out(self, ranked: Sequence[Configuration]) -> int:
        """How many of the lowest no twin can hold together with the others, whatever else is in it.

        Counted once for all identities that the same ones target: a hundred large contents take a second.
        """
        key = tuple(configuration.id for configuration in ranked)
        if key not in self._left_out:
            if len(self._left_out) >= _MOST_SETS:
                self._left_out.clear()
            self._left_out[key] = _first_that_fits(
                range(len(ranked)), lambda lowest: apply_settings({}, decide_settings(ranked[lowest:])[0])
            )
        return self._left_out[key]

    @classmethod
    def read(cls, tables: ConfigurationTables, hub: HubId, before: Book) -> Book:
        """The present one. What has not changed since `before` is not read again: contents can be large."""
        known = {(each.id, each.version, each.created): each for each in (*before.device, *before.module, *before.edge)}
        present: list[Configuration] = []
        for key in tables.configurations.versions(hub):
            configuration = known.get(key) or tables.configurations.find(hub, key[0])
            if configuration is not None and is_readable(configuration):
                present.append(configuration)
        kinds = (tuple(each for each in present if each.kind == kind) for kind in ("device", "module", "edge"))
        return cls(tables.configurations.revision(hub), *kinds)


def is_readable(configuration: Configuration) -> bool:
    """Whether its condition still is one: it was when it came, but another version of us may have known more."""
    try:
        return configuration.target is not None
    except Invalid as refusal:
        log.warning("configuration_condition id=%s message=%r", configuration.id, refusal.message)
        return False


def decide_settings(targeted: Iterable[Configuration]) -> tuple[list[Setting], dict[ConfigurationId, Applied]]:
    """What configurations of devices or modules set together, and what each of them has a part in."""
    ranked = sorted(targeted, key=lambda configuration: configuration.rank)
    settings = effective([configuration.layer for configuration in ranked])
    held: dict[str, list[tuple[str, ...]]] = {configuration.id: [] for configuration in ranked}
    parts = {setting.owner for setting in settings}
    for setting in settings:
        if setting.value is not None:
            held[setting.owner].append(setting.path)
    return settings, {
        configuration.id: Applied("Applied" if configuration.id in parts else "Targeted", tuple(held[configuration.id]))
        for configuration in ranked
    }


def reconcile_in(
    tables: ConfigurationTables, hub: HubId, name: IdentityName, book: Book, targets: Targets, now: datetime
) -> None:
    """Bring `name` to what `book` wants for it, and take away its mark. Nothing happens to who is not registered."""
    identity = tables.identities.find(hub, name)
    if identity is not None:
        here = _Here(tables, hub, book, targets, now)
        here.settings(identity)
        if name.module_id is None:
            here.deployments(identity)
        else:
            device = IdentityName(name.device_id)
            # The device's, since a module that was deleted and made again has nothing yet.
            if here.is_deployed(device) and (found := tables.identities.find(hub, device)) is not None:
                here.deployments(found)
    tables.configurations.unmark(hub, name)


def _first_that_fits(choices: range, wanted: Callable[[int], Mapping[str, Any]]) -> int:
    """The first of `choices` with which the desired properties fit into a twin; what is behind them when none does.

    Each leaves out one more than the one before it.
    """
    # Mostly all of them fit.
    if choices and size_of(wanted(choices.start)) <= MAX_DESIRED_BYTES:
        return choices.start
    return choices.start + bisect_left(choices, True, key=lambda choice: size_of(wanted(choice)) <= MAX_DESIRED_BYTES)


def _collection(configuration: Configuration) -> Collection:
    return "devices.modules" if configuration.kind == "module" else "devices"


@dataclass(frozen=True, slots=True)
class _Here:
    tables: ConfigurationTables
    hub: HubId
    book: Book
    aims: Targets
    now: datetime

    def settings(self, identity: Identity) -> None:
        """Sections of its own desired properties."""
        tables, name = self.tables, identity.name
        candidates = self.book.device if name.module_id is None else self.book.module
        before = {key: each for key, each in self._applied(name).items() if not each.is_deployed}
        targeted = sorted(self._targeting(name, candidates), key=lambda configuration: configuration.rank)
        if not before and not targeted:
            return
        present = tables.twins.find(self.hub, name)
        twin = present or fresh_twin(self.hub, name)
        after: dict[ConfigurationId, Applied] = {}

        def decide(lowest: int) -> tuple[dict[str, Any], dict[ConfigurationId, Applied]]:
            settings, held = decide_settings(targeted[lowest:])
            # What is only taken away goes with what is empty around it, as if it had never been set.
            kept = {setting.path for setting in settings if setting.value is not None}
            gone = [path for each in before.values() for path in each.holds if path not in kept]
            return apply_settings(twin.desired.value, settings, held=gone), held

        left_out = self.book.left_out(targeted)
        left_out = _first_that_fits(range(left_out, len(targeted)), lambda lowest: decide(lowest)[0])
        if left_out:
            log.warning("configurations_left_out name=%s configurations=%d", name, left_out)
        # Without any of them the twin only shrinks, so the second try is the last.
        for lowest in (left_out, len(targeted)):
            wanted, after = decide(lowest)
            try:
                is_written = write_in(tables, twin, wanted, self.now)
            except Refusal as refusal:
                self._warn(name, refusal)
                continue
            if not is_written and present is None:
                # So that there is a twin to be found by its configurations.
                tables.twins.put(twin)
            break
        self._note(name, before, {**{each.id: Applied("Targeted") for each in targeted}, **after})

    def deployments(self, device: Identity) -> None:
        """The modules of an edge device."""
        name = device.name
        before = {key: each for key, each in self._applied(name).items() if each.is_deployed}
        targeted = self._targeting(name, self.book.edge) if device.is_edge else []
        if not before and not targeted:
            return
        deployment = decide_deployment(targeted)
        # Modules that deployments brought, whichever they were.
        brought = {path[0] for each in before.values() for path in each.holds}
        listed: list[ModuleId] = []
        applied = deployment.applied
        if deployment.base is not None:
            try:
                listed = deploy_in(
                    self.tables,
                    self.hub,
                    device,
                    deployment.settings,
                    self.now,
                    on_top=False,
                    may_remove=lambda module: module.managed_by == MANAGED_BY,
                )
            except Refusal as refusal:
                self._warn(name, refusal)
                applied, listed = frozenset(), [ModuleId(each) for each in sorted(brought)]
        after = {}
        for each in targeted:
            is_base = deployment.base is not None and each.id == deployment.base.id
            status: Status = "Applied" if each.id in applied else "Targeted"
            after[each.id] = Applied(status, tuple((module,) for module in listed) if is_base else (), True)
        self._note(name, before, after)
        on_modules = {key: Applied("Applied", (), True) for key in after if key in applied}
        for module in dict.fromkeys([*map(ModuleId, sorted(brought)), *listed]):
            self._note_module(IdentityName(name.device_id, module), on_modules if module in listed else {})
            if not self.book.module:
                # Nothing else is asked of it; its own mark would only lead here again.
                self.tables.configurations.unmark(self.hub, IdentityName(name.device_id, module))

    def is_deployed(self, name: IdentityName) -> bool:
        return any(each.is_deployed for each in self._applied(name).values())

    def _note_module(self, name: IdentityName, after: Mapping[ConfigurationId, Applied]) -> None:
        if self.tables.identities.find(self.hub, name) is None:
            return
        before = {key: each for key, each in self._applied(name).items() if each.is_deployed}
        self._note(name, before, after)

    def _targeting(self, name: IdentityName, candidates: Iterable[Configuration]) -> list[Configuration]:
        return [each for each in candidates if self._is_targeted(name, each)]

    def _is_targeted(self, name: IdentityName, configuration: Configuration) -> bool:
        text, condition = configuration.target
        if condition.where is None:
            return not condition.is_empty
        return self.aims.matches(self.tables, self.hub, text, _collection(configuration), name)

    def _applied(self, name: IdentityName) -> dict[ConfigurationId, Applied]:
        return self.tables.configurations.applied(self.hub, name)

    def _note(
        self, name: IdentityName, before: Mapping[ConfigurationId, Applied], after: Mapping[ConfigurationId, Applied]
    ) -> None:
        table = self.tables.configurations
        for gone in before.keys() - after.keys():
            table.delete_applied(self.hub, name, gone)
        for key, applied in after.items():
            if before.get(key) != applied:
                table.put_applied(self.hub, name, key, applied)

    def _warn(self, name: IdentityName, refusal: Refusal) -> None:
        log.warning("configuration_not_applied name=%s reason=%s message=%r", name, refusal.reason, refusal.message)
