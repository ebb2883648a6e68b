"""What changed, told to whoever holds live state: emitted in the transaction of the change, published after its commit.

Kinds and their subjects:

    identity.created, identity.updated      `d` or `d/m`: judge its sessions again
    identity.disabled, identity.deleted     `d` or `d/m` (a device's modules too): cut its sessions now
    twin.desired                            `d` or `d/m`: desired properties changed; data: patch, version
    message.enqueued                        `d` or `d/m`: a cloud-to-device message waits
    feedback.waiting                        `d` or `d/m`: what became of a message of its waits for a back end
    file_notification.waiting               the device: a file of its is there, and a back end may be told
    anchors.replaced                        a trust binding: forget cached anchors; sessions stand (decisions T5)
    anchors.removed                         a trust binding: forget cached anchors and cut sessions that relied on them
    revocation.changed                      a CRL issuer's id: a list, an answer or a policy changed; read it again
    enrollment_groups.changed               an enrollment group's id: it was made, changed or deleted
    device.changed                          the device: its record in the application was made, changed or deleted
    device.cloud_properties                 the device: cloud properties were set; data: patch
    rules.changed, exports.changed          a rule's or an export's id: it was made, changed, switched or deleted
    session.claimed                         `d` or `d/m`: another app holds it now; data: epoch
    configurations.changed                  a configuration's id: it was made, changed or deleted
    template.changed                        a device template's id: it was made, changed or deleted; data, where that
                                            concerns what is published: published (created, updated, deleted), model
    routing.changed                         the hub's message routes, endpoints or enrichments
    policies.changed                        the hub's shared access policies or its SAS switches: forget cached keys
    waivers.changed                         the hub: other weak certificates pass now; cut who has lost its waiver
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from moorage.ids import HubId

__all__ = ["Bus", "Event", "Outbox"]


@dataclass(frozen=True, slots=True)
class Event:
    """One change. `data` is JSON-able."""

    kind: str
    hub: HubId
    subject: str
    data: Mapping[str, Any] = field(default_factory=dict)


class Outbox(Protocol):
    """Takes events inside a transaction."""

    def emit(self, event: Event) -> None:
        """Publish `event` if, and only after, the surrounding transaction commits."""


class Bus(Protocol):
    """Carries events to every app on the same store. Subscribers are called on their own event loop, in order."""

    def publish(self, event: Event) -> None:
        """Hand `event` to every subscriber."""

    def subscribe(self, handler: Callable[[Event], None]) -> Callable[[], None]:
        """Call `handler` for every event from now on; the function returned ends that."""
