"""Which weaknesses of certificates a hub puts up with, by the names of `pki/waivers.py`: given, taken back, audited.

A change of them emits `waivers.changed`, with the hub as its subject: trust is read anew, and sessions that only a
waiver let in end when it is taken back (decisions T5: distrusting cuts). CAs that were registered under one stay
registered, and what hangs on them is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from moorage.certificates.model import CATables
from moorage.events import Event
from moorage.ids import HubId
from moorage.pki.waivers import Waiver, Waivers
from moorage.store import Store

__all__ = ["WaiverService"]

audit = logging.getLogger("moorage.audit")


class WaiverService:
    """The waivers of every hub in one store."""

    def __init__(self, store: Store[CATables]) -> None:
        self._store = store

    def given(self, hub: HubId) -> Waivers:
        return self._store.read().waivers.given(hub)

    async def change(self, hub: HubId, changes: Mapping[Waiver, bool], *, by: object) -> Waivers:
        """Give those that are true and take back those that are false; all that are given then."""

        def work(tables: CATables) -> tuple[Waivers, list[Waiver]]:
            before = tables.waivers.given(hub)
            changed = [waiver for waiver, is_given in changes.items() if is_given != (waiver in before)]
            for waiver in changed:
                if changes[waiver]:
                    tables.waivers.put(hub, waiver)
                else:
                    tables.waivers.delete(hub, waiver)
            if changed:
                tables.outbox.emit(Event("waivers.changed", hub, hub))
            return tables.waivers.given(hub), changed

        given, changed = await self._store.write(work)
        for waiver in changed:
            event = "waiver.given" if changes[waiver] else "waiver.taken_back"
            facts = {"hub": hub, "waiver": waiver, "by": str(by)}
            audit.info("%s hub=%s waiver=%s by=%s", event, *facts.values(), extra={"event": event, "facts": facts})
        return given
