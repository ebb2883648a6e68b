"""Whether an upload may go on: what it was begun with is judged again whenever a request for its blob comes.

What ends a live session ends an upload (`hub/watch.py`), expiry aside: an upload has an hour of its own. So what
is removed, distrusted, revoked, disabled or switched off ends it, and replacing in a roll does not (decisions T5).
Most of that is seen in the registry as it is now. Whether a CA was removed or replaced is not, so removals are
remembered; uploads from before that memory begins, with this app's start, are judged by what is trusted now, as a
session would be that has to connect again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from moorage.clock import Clock
from moorage.events import Bus, Event
from moorage.hub.upload_model import BegunBy, FileUpload
from moorage.identities.credentials import AuthenticatedIdentity
from moorage.identities.model import RegistryTables
from moorage.identities.policies import PolicyCache
from moorage.identities.standing import is_taken_out, pins_of, takes_token
from moorage.identities.trust import DPS_REGISTRY, HUB_BINDING, TrustCache
from moorage.ids import HubId, IdentityName
from moorage.pki.certificates import Certificate, PeerChain
from moorage.store import Store

__all__ = ["MAX_REMOVED", "UploadStanding", "begun_by"]

# Removals that are remembered; some 2 MB.
MAX_REMOVED: Final = 10_000
# In the place of a thumbprint: a group trusts nothing any more.
_ALL: Final = ""


def begun_by(who: AuthenticatedIdentity, chain: PeerChain | None) -> BegunBy:
    """What to keep of a device that came in just now, and of the chain that it showed."""
    identity = who.identity
    path = (chain.leaf, *(issuer.der for issuer in who.issuers)) if chain and who.issuers else ()
    return BegunBy(
        generation=identity.generation_id,
        kind=type(identity.authentication).__name__,
        is_token=who.method.type == "sas",
        policy=who.policy,
        policy_key=None if who.policy_key is None else who.policy_key.hex(),
        pinned=who.pinned,
        pins=tuple(sorted(pins_of(identity.authentication))),
        binding=who.binding,
        path=path,
        waivers=tuple(sorted(who.waivers)),
    )


class UploadStanding:
    """For the uploads of one hub. Subscribes at once; `close` ends it."""

    def __init__(
        self,
        hub: HubId,
        bus: Bus,
        store: Store[RegistryTables],
        policies: PolicyCache,
        trust: TrustCache,
        why_revoked: Callable[[bytes, Sequence[Certificate]], str | None],
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._store = store
        self._policies = policies
        self._trust = trust
        self._why_revoked = why_revoked
        self._clock = clock
        # When what was last taken away, by the event's subject and the SHA-256 of the certificate; complete `since`.
        self._removed: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        self._since = clock.now()
        self.close = bus.subscribe(self._heard)

    def why_ended(self, upload: FileUpload) -> str | None:
        """A sentence; None as long as it stands. On the event loop, with one point read."""
        device = self._store.read().identities.find(self._hub, IdentityName(upload.device_id))
        if device is None or device.status != "enabled":
            return f"'{upload.device_id}' was disabled or deleted meanwhile"
        begun = upload.begun_by
        if begun is None:
            return None
        if device.generation_id != begun.generation:
            return f"'{upload.device_id}' was deleted and created anew meanwhile"
        if begun.is_token and (why := self._why_token_ended(device.name, begun)) is not None:
            return why
        if begun.policy is None:
            if type(device.authentication).__name__ != begun.kind:
                return f"'{upload.device_id}' authenticates in another way now"
            if begun.pinned is not None and is_taken_out(begun.pinned, begun.pins, pins_of(device.authentication)):
                return f"the thumbprint of '{upload.device_id}' was taken out of the registry"
        if lost := set(begun.waivers) - self._trust.waivers(self._hub):
            return f"the upload was begun by a waiver that was taken back: {', '.join(sorted(lost))}"
        return self._why_path_ended(upload, begun) if begun.path else None

    def _why_token_ended(self, name: IdentityName, begun: BegunBy) -> str | None:
        if not takes_token(self._policies.switches(self._hub), name, of_policy=begun.policy is not None):
            return f"the hub does not take tokens for '{name}' any more"
        if begun.policy is None:
            return None
        policy = self._policies.find(self._hub, "hub", begun.policy)
        if policy is not None and "DeviceConnect" in policy.rights:
            if begun.policy_key in [mark.hex() for mark in policy.marks]:
                return None
        return f"the upload was begun by a key or right that policy '{begun.policy}' has no more"

    def _why_path_ended(self, upload: FileUpload, begun: BegunBy) -> str | None:
        if not self._is_trusted(upload.created, begun.binding or HUB_BINDING, begun.path[1:]):
            return "a certificate with which the upload was begun hangs on one that is not trusted any more"
        leaf, *issuers = begun.path
        why = self._why_revoked(leaf, [Certificate(issuer) for issuer in issuers])
        return None if why is None else f"the certificate with which the upload was begun: {why}"

    def _is_trusted(self, created: datetime, binding: str, issuers: Sequence[bytes]) -> bool:
        if created < self._since:
            anchors = self._trust.validator(self._hub, binding).anchors.anchors
            return not {anchor.der for anchor in anchors}.isdisjoint(issuers)
        # A CA of the provisioning service may be referred to by any group.
        subjects = (binding,) if binding == HUB_BINDING else (binding, DPS_REGISTRY)
        signers = [hashlib.sha256(issuer).hexdigest().upper() for issuer in issuers]
        taken = (self._removed.get((subject, signer)) for subject in subjects for signer in (_ALL, *signers))
        return not any(at is not None and at >= created for at in taken)

    def _heard(self, event: Event) -> None:
        if event.kind != "anchors.removed" or event.hub != self._hub:
            return
        now = self._clock.now()
        for signer in (*event.data.get("thumbprints", ()), *((_ALL,) if event.data.get("all") else ())):
            self._removed[event.subject, signer] = now
            self._removed.move_to_end((event.subject, signer))
        while len(self._removed) > MAX_REMOVED:
            self._since = self._removed.popitem(last=False)[1]
