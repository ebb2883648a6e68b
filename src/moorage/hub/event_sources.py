"""Which events of its own a hub tells back ends of, and who may say so.

Three voices: the setting (`hub_events`), a switch set by hand, and routes and data exports, which ask for the sources
that they take. The switch wins (`Sources.wanted`). What is told follows from what is stored when a change commits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from moorage.hub.model import HubTables
from moorage.hub.notification_model import Source, Sources
from moorage.ids import HubId
from moorage.store import Store

__all__ = ["EventSources"]

audit = logging.getLogger("moorage.audit")


class EventSources:
    """One hub's."""

    def __init__(self, hub: HubId, store: Store[HubTables]) -> None:
        self._hub = hub
        self._store = store

    def get(self) -> Sources:
        return self._store.read().notifications.sources(self._hub)

    async def settle(self, by_default: Iterable[Source]) -> None:
        """What the setting says now; called once a start."""
        wanted = frozenset(by_default)
        if self.get().by_default != wanted:
            await self._change(lambda sources: replace(sources, by_default=wanted))

    async def switch(self, switches: Mapping[Source, bool | None], *, by: object = None) -> Sources:
        """Switch sources on or off; None leaves one to the setting and the routes again."""

        def switched(sources: Sources) -> Sources:
            kept = {**sources.switched, **switches}
            return replace(sources, switched={source: on for source, on in kept.items() if on is not None})

        after = await self._change(switched)
        for source, on in switches.items():
            state = "default" if on is None else "on" if on else "off"
            facts = {"hub": self._hub, "source": source, "state": state, "by": str(by)}
            audit.info(
                "events.switched hub=%s source=%s state=%s by=%s",
                *facts.values(),
                extra={"event": "events.switched", "facts": facts},
            )
        return after

    async def _change(self, decide: Callable[[Sources], Sources]) -> Sources:
        def work(tables: HubTables) -> Sources:
            after = decide(tables.notifications.sources(self._hub))
            tables.notifications.put_sources(self._hub, after)
            return after

        return await self._store.write(work)
