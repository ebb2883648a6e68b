"""Placing devices on linked hubs, and taking them along when they move.

    new hub: device with its credential and twin  ─►  old hub: device deleted  ─►  registration `assigned`

A device is told its hub only when all of this is done; what is interrupted is done again from the start, with the same
result. Its twin is read at the old hub before anything is written, so migrating waits for a hub that cannot be reached.
Tags and desired properties move, reported ones are the device's to report again. A device that an operator disabled
stays disabled wherever it goes. Where the old hub is no longer linked nothing can be read or deleted there: the device
starts from the enrollment's initial twin, and the audit log says what was left behind.

A linked hub of somebody else's knows nothing of our enrollment groups, so a device with a certificate is created there
by that certificate's thumbprint, as Azure's provisioning service does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from moorage.errors import Unavailable
from moorage.identities.model import Authentication, ByAuthority, ByThumbprint
from moorage.ids import DeviceId, Thumbprint
from moorage.provisioning.linked_hubs import LinkedHubService
from moorage.provisioning.model import Assignment, HubChoice, LinkedHub

__all__ = ["DeviceHome", "Homes"]

audit = logging.getLogger("moorage.audit")


class DeviceHome(Protocol):
    """One hub: the own one, or a linked one over its service API. All of it can be repeated.

    Raises `Unavailable` for what passes, and any other `Refusal` when the hub does not want to.
    """

    async def assign(
        self,
        host_name: str,
        device_id: DeviceId,
        authentication: Authentication,
        *,
        reset_data: bool,
        tags: Mapping[str, Any],
        desired: Mapping[str, Any],
        is_edge: bool,
        is_disabled: bool = False,
    ) -> Assignment:
        """Create the device, or give it `authentication` when it exists. The data is written when it is new, or with
        `reset_data`; `is_disabled` makes or leaves it disabled.
        """

    async def data(self, device_id: DeviceId) -> tuple[Mapping[str, Any], Mapping[str, Any], bool] | None:
        """Tags, desired properties, and whether it is disabled; None when it is not there."""

    async def remove(self, device_id: DeviceId) -> None:
        """Delete it, if it is there."""


@dataclass(frozen=True, slots=True)
class _Data:
    tags: Mapping[str, Any]
    desired: Mapping[str, Any]
    is_disabled: bool = False


class Homes:
    """Port: `provisioning.model.HubAssigner`, over all linked hubs. `remote` makes the home that a link leads to."""

    def __init__(self, linked: LinkedHubService, own: DeviceHome, remote: Callable[[LinkedHub], DeviceHome]) -> None:
        self._linked = linked
        self._own = own
        self._remote = remote

    def hubs(self) -> tuple[HubChoice, ...]:
        return self._linked.choices()

    async def assign(
        self,
        host_name: str,
        device_id: DeviceId,
        authentication: Authentication,
        *,
        reset_data: bool,
        tags: Mapping[str, Any],
        desired: Mapping[str, Any],
        is_edge: bool,
        thumbprint: Thumbprint | None = None,
        moved_from: str | None = None,
    ) -> Assignment:
        target = self._find(host_name)
        if target is None:
            raise Unavailable("hub.not_linked", f"{host_name[:253]!r} is not linked any more")
        initial = _Data(tags, desired)
        old = None if moved_from is None else self._find(moved_from)
        moved = None if old is None else await self._home(old).data(device_id)
        if moved is not None:
            found = _Data(*moved)
            initial = _Data(tags, desired, found.is_disabled) if reset_data else found
        assignment = await self._home(target).assign(
            host_name,
            device_id,
            authentication if target.is_own else _portable(authentication, thumbprint),
            reset_data=reset_data or moved is not None,
            tags=initial.tags,
            desired=initial.desired,
            is_edge=is_edge,
            is_disabled=initial.is_disabled,
        )
        if old is not None:
            await self._home(old).remove(device_id)
        if moved_from is not None:
            facts = {
                "device": device_id,
                "was": moved_from,
                "now": host_name,
                "data": "reset" if reset_data else "moved" if moved is not None else "none",
                # A device that is here already was at this hub under an earlier name of it.
                "left_behind": "yes" if old is None and assignment.created else "no",
                "by": "provisioning",
            }
            audit.info(
                "device.moved device=%s was=%s now=%s data=%s left_behind=%s by=%s",
                *facts.values(),
                extra={"event": "device.moved", "facts": facts},
            )
        return assignment

    def _find(self, host_name: str) -> LinkedHub | None:
        wanted = host_name.lower()
        return next(
            (each for each in self._linked.all() if wanted in (name.lower() for name in self._linked.names_of(each))),
            None,
        )

    def _home(self, linked: LinkedHub) -> DeviceHome:
        return self._own if linked.is_own else self._remote(linked)


def _portable(authentication: Authentication, thumbprint: Thumbprint | None) -> Authentication:
    if isinstance(authentication, ByAuthority):
        return ByThumbprint(thumbprint, None)
    return authentication
