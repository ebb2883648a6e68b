"""All enrollment groups as judging needs them: read once, and kept until one of them or a CA they may refer to changes.

A fleet that registers in the morning asks a thousand times a minute; a hundred groups with their certificates take ten
milliseconds to read.
"""

from __future__ import annotations

from collections.abc import Callable

from moorage.events import Bus, Event
from moorage.identities.trust import DPS_REGISTRY
from moorage.ids import HubId
from moorage.pki.revocation import Revocation
from moorage.provisioning.anchors import signers_of
from moorage.provisioning.attestation import Groups
from moorage.provisioning.model import ProvisioningTables
from moorage.provisioning.shared_certificates import oldest_first
from moorage.store import Store

__all__ = ["GroupCache"]


class GroupCache:
    """The groups of one hub's provisioning service. To be made, used and closed on one event loop."""

    def __init__(
        self, hub: HubId, store: Store[ProvisioningTables], bus: Bus, *, revocation: Revocation | None = None
    ) -> None:
        self._hub = hub
        self._revocation = revocation
        self._store = store
        self._groups: Groups | None = None
        self._changes = 0
        self.close: Callable[[], None] = bus.subscribe(self._heard)

    async def get(self) -> Groups:
        """As of now: a change that was answered before this call is in it."""
        if self._groups is not None:
            return self._groups
        changes = self._changes
        groups = await self._store.scan(self._read)
        if changes == self._changes:
            self._groups = groups
        return groups

    def _read(self, tables: ProvisioningTables) -> Groups:
        # A certificate may stand in two groups; the one that was made first decides.
        groups = oldest_first(tables, self._hub)
        return Groups(
            signers=[signer for group in groups for signer in signers_of(group, tables.cas)],
            groups=groups,
            authorities=tables.cas.all(self._hub, "dps"),
            waivers=tables.waivers.given(self._hub),
            revocation=self._revocation,
        )

    def _heard(self, event: Event) -> None:
        if event.hub != self._hub:
            return
        if event.kind in ("enrollment_groups.changed", "waivers.changed") or (
            event.kind in ("anchors.replaced", "anchors.removed") and event.subject == DPS_REGISTRY
        ):
            self._changes += 1
            self._groups = None
