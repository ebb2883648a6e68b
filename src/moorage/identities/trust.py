"""Which certificates an identity's chain may end in, and the validators that hold them.

A *trust binding* is a text that names one set of anchors of a hub: `hub` for its proven CAs, `enrollment:{group id in
lower case}` for what a group trusts now. An identity is judged by the one binding it belongs to and by no other
(decisions T2). Events about anchors carry a binding as their subject; a change to the CAs that are registered for
provisioning comes as `dps`, since any group may refer to them. The hub's waivers hold for all of its bindings.

`TrustCache` keeps one `Validator` per binding, with all that it has learnt, until such an event. The anchors are read
on the event loop and the event arrives there after its commit, so what was read before a change cannot outlive it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from moorage.events import Bus, Event
from moorage.identities.model import ByAuthority
from moorage.ids import CAName, EnrollmentGroupId, HubId
from moorage.pki.certificates import Certificate
from moorage.pki.revocation import Revocation
from moorage.pki.validator import TrustAnchors, Validator
from moorage.pki.waivers import Waivers

__all__ = [
    "DPS_REGISTRY",
    "HUB_BINDING",
    "AnchorSource",
    "HubAnchorSource",
    "TrustCache",
    "binding_of",
    "enrollment_binding",
]

HUB_BINDING: Final = "hub"
DPS_REGISTRY: Final = "dps"
_ENROLLMENT = "enrollment:"

# A validator holds its anchors and up to 512 remembered paths; a hub with more groups than this reads some anew.
_MAX_VALIDATORS: Final = 256


def enrollment_binding(group_id: EnrollmentGroupId) -> str:
    """Group ids are compared without case, bindings as they are: so one spelling."""
    return _ENROLLMENT + group_id.lower()


def binding_of(authentication: ByAuthority) -> str:
    group = authentication.enrollment_group
    return HUB_BINDING if group is None else enrollment_binding(group)


class AnchorSource(Protocol):
    """Reads the certificates behind a binding from what is committed; called on the event loop."""

    def anchors(self, hub: HubId, binding: str) -> Sequence[Certificate]:
        """What a chain may end in; empty when nobody is trusted, or when nothing of that name exists."""

    def intermediates(self, hub: HubId, binding: str) -> Sequence[Certificate]:
        """What may stand in between when a peer did not send it; trusted for nothing."""


class HubAnchorSource(AnchorSource, Protocol):
    """The hub's own CAs, and what else it has to say: who is not trusted yet, and which weak certificates pass."""

    def unproven(self, hub: HubId) -> Sequence[tuple[CAName, Certificate]]:
        """Registered CAs that anchor nothing, because nobody has shown possession of their keys."""

    def waivers(self, hub: HubId) -> Waivers:
        """What is put up with, whichever binding it is for."""


class TrustCache:
    """One validator per hub and binding, the least used forgotten first. Each asks `revocation` every time."""

    def __init__(
        self,
        hub: HubAnchorSource,
        enrollments: AnchorSource,
        bus: Bus,
        *,
        revocation: Revocation | None = None,
        limit: int = _MAX_VALIDATORS,
    ) -> None:
        self._hub = hub
        self._revocation = revocation
        self._enrollments = enrollments
        self._limit = limit
        self._validators: OrderedDict[tuple[HubId, str], Validator] = OrderedDict()
        self._waivers: dict[HubId, Waivers] = {}
        self.close: Callable[[], None] = bus.subscribe(self._heard)

    def validator(self, hub: HubId, binding: str) -> Validator:
        key = (hub, binding)
        known = self._validators.get(key)
        if known is not None:
            self._validators.move_to_end(key)
            return known
        source = self._hub if binding == HUB_BINDING else self._enrollments
        anchors = TrustAnchors(source.anchors(hub, binding), source.intermediates(hub, binding))
        made = Validator(anchors, revocation=self._revocation, waivers=self.waivers(hub))
        self._validators[key] = made
        if len(self._validators) > self._limit:
            self._validators.popitem(last=False)
        return made

    def waivers(self, hub: HubId) -> Waivers:
        known = self._waivers.get(hub)
        if known is None:
            known = self._waivers[hub] = self._hub.waivers(hub)
        return known

    def unproven(self, hub: HubId, binding: str) -> Sequence[tuple[CAName, Certificate]]:
        """Registered CAs that would be anchors of `binding` once proven: to explain a refusal with."""
        return self._hub.unproven(hub) if binding == HUB_BINDING else ()

    def _heard(self, event: Event) -> None:
        if event.kind == "waivers.changed":
            self._waivers.pop(event.hub, None)
            for hub, binding in list(self._validators):
                if hub == event.hub:
                    del self._validators[hub, binding]
            return
        if event.kind not in ("anchors.replaced", "anchors.removed"):
            return
        if event.subject == DPS_REGISTRY:
            for hub, binding in list(self._validators):
                if hub == event.hub and binding != HUB_BINDING:
                    del self._validators[hub, binding]
        else:
            self._validators.pop((event.hub, event.subject), None)
