"""Applies configurations to twins as things change, a few identities at a time.

Two lists say what is still to be looked at, and both are in the store, so a hub that is killed goes on where it was:
marks (an identity or its twin changed; written by the store itself in the transaction of the change) and works (a
configuration was made, changed or deleted). A work first visits those that have something of the configuration, then
those that its condition selects now. Each step is one short transaction that also says how far it came, and looking at
an identity twice changes nothing (`hub.reconcile`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from moorage.clock import Clock
from moorage.errors import Unavailable
from moorage.events import Bus, Event
from moorage.hub.configuration_model import ConfigurationTables, Work
from moorage.hub.reconcile import Book, is_readable, reconcile_in
from moorage.hub.targets import Collection, Targets
from moorage.ids import HubId, IdentityName
from moorage.store import Store

__all__ = ["ConfigurationApplier"]

log = logging.getLogger(__name__)

# Identities a transaction: other writers wait for it, a few milliseconds.
_PIECE: Final = 25
# Identities that a condition is asked for at once.
_SELECTED: Final = 500
# Marks that no event speaks of (tags, reports) are found this soon.
_LOOK_EVERY_S: Final = 0.25
_AFTER_FAILURE_S: Final = 1.0
_WAKING = frozenset({"configurations.changed", "identity.created", "identity.updated", "twin.desired"})


class ConfigurationApplier:
    """Run `run` as a task for as long as the hub runs. Subscribes at once; `close` ends that."""

    def __init__(self, hub: HubId, store: Store[ConfigurationTables], bus: Bus, targets: Targets, clock: Clock) -> None:
        self._hub = hub
        self._store = store
        self._targets = targets
        self._clock = clock
        self._wake = asyncio.Event()
        # Used by the writer's thread alone.
        self._book = Book(-1)
        self.close: Callable[[], None] = bus.subscribe(self._heard)

    async def run(self) -> None:
        """Never returns; what fails is logged and tried again."""
        while True:
            try:
                while await self.step():
                    pass
                await self._rest()
            except Unavailable as refusal:
                log.warning("configurations_wait reason=%s message=%r", refusal.reason, refusal.message)
                await asyncio.sleep(_AFTER_FAILURE_S)
            except Exception:
                log.exception("configurations_failed")
                await asyncio.sleep(_AFTER_FAILURE_S)

    async def step(self) -> bool:
        """Some of what is on the lists; False when nothing is."""
        table = self._store.read().configurations
        marked = table.marked(self._hub, _PIECE)
        if marked:
            await self._look_at(marked)
        # Both lists in turn: devices that report without end do not keep a configuration from its beginning.
        work = table.next_work(self._hub)
        if work is None:
            return bool(marked)
        if work.phase == "leaving":
            await self._leave(work, table.holders(self._hub, work.configuration, work.after, _PIECE))
        else:
            await self._join(work)
        return True

    async def _leave(self, work: Work, names: Sequence[IdentityName]) -> None:
        is_last = len(names) < _PIECE
        following = replace(work, phase="joining", after=None) if is_last else replace(work, after=names[-1])
        await self._look_at(names, work, following)

    async def _join(self, work: Work) -> None:
        names = await self._selected(work)
        for begin in range(0, len(names), _PIECE):
            piece = names[begin : begin + _PIECE]
            await self._look_at(piece, work, replace(work, after=piece[-1]))
        if len(names) < _SELECTED:
            await self._look_at((), work, None)

    async def _selected(self, work: Work) -> Sequence[IdentityName]:
        configuration = self._store.read().configurations.find(self._hub, work.configuration)
        if configuration is None or not is_readable(configuration):
            return ()
        condition = configuration.selection
        if condition is None:
            return ()
        collection: Collection = "devices.modules" if configuration.kind == "module" else "devices"
        return await self._targets.select(self._hub, condition, collection, after=work.after, limit=_SELECTED)

    async def _look_at(
        self, names: Sequence[IdentityName], work: Work | None = None, following: Work | None = None
    ) -> None:
        now = self._clock.now()

        def transaction(tables: ConfigurationTables) -> None:
            if tables.configurations.revision(self._hub) != self._book.revision:
                self._book = Book.read(tables, self._hub, self._book)
            for name in names:
                reconcile_in(tables, self._hub, name, self._book, self._targets, now)
            if following is not None:
                tables.configurations.put_work(following)
            elif work is not None:
                tables.configurations.end_work(work)

        try:
            await self._store.write(transaction)
        except BaseException:
            # What was read in a transaction that did not come through may never have been.
            self._book = Book(-1)
            raise

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_EVERY_S):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _heard(self, event: Event) -> None:
        if event.hub == self._hub and event.kind in _WAKING:
            self._wake.set()
