"""Placing provisioned devices on this hub.

Provisioning and the hub do not know each other: this has the shape of the port that provisioning owns, and the
composition root puts the two together. A device and its first twin are written in one transaction, so no connection
can see the one without the other. A device of that name that somebody made by hand is given the credential that the
provisioning service accepted; the audit log says so. Asking again for what is already so writes nothing, which is what
a fleet does that registers at every start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from moorage.clock import Clock
from moorage.errors import NotFound, Unavailable
from moorage.events import Event
from moorage.hub.model import HubTables, Twin
from moorage.hub.notifications import tell_of_twin
from moorage.hub.twins import fresh_twin, initial_twin, reset_twin
from moorage.identities.model import Authentication, BySharedKey, Identity, Status
from moorage.identities.registry import (
    IdentityDraft,
    audit_identity,
    authentication_type,
    create_in,
    delete_in,
    update_in,
)
from moorage.ids import DeviceId, HubId, IdentityName
from moorage.store import Store

__all__ = ["Assigner", "FirstTwins"]

audit = logging.getLogger("moorage.audit")

Answer = TypeVar("Answer")


class FirstTwins(Protocol):
    """Who knows of something that a new device's first twin is to hold besides."""

    def join(self, tables: Any, twin: Twin, now: datetime) -> Twin:
        """In the transaction that makes the device."""


# Metadata is not compared, so any moment does.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BY = "provisioning"


class Assigner(Generic[Answer]):
    """Assigns to one hub, under each of its host names. `answer` makes the result from (device id, created)."""

    def __init__(
        self,
        store: Store[HubTables],
        clock: Clock,
        hub: HubId,
        host_names: tuple[str, ...],
        answer: Callable[[DeviceId, bool], Answer],
    ) -> None:
        self._store = store
        self._clock = clock
        self._hub = hub
        self._host_names = host_names
        self._answer = answer
        # The application's, once there is one.
        self.first_twins: FirstTwins | None = None

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
    ) -> Answer:
        """Create the device, or give it `authentication` when it exists; its status and modules stay as they are.

        `tags` and `desired` are written when the device is new or `reset_data` is set; a reset also forgets what the
        device reported. The twin's versions go on growing through a reset, so a device cannot mistake old for new.
        With `is_disabled` it is made, or left, disabled.

        Raises:
            Unavailable: `hub.not_linked`: this hub has no such name.
            Invalid, TooLarge: `twin.*` for initial data that no twin may hold; as `identities.registry` for the rest.
        """
        if host_name.lower() not in self._host_names:
            known = ", ".join(self._host_names)
            raise Unavailable("hub.not_linked", f"{host_name[:255]!r} is not a hub here; there is {known}")
        name = IdentityName(device_id)
        present = self._store.read().identities.find(self._hub, name)
        is_as_wanted = present is not None and _has(present, authentication)
        if is_as_wanted and not (is_disabled and present is not None and present.status == "enabled"):
            twin = self._store.read().twins.find(self._hub, name) or fresh_twin(self._hub, name)
            if not reset_data or _holds(twin, tags, desired):
                return self._answer(device_id, False)
        now = self._clock.now()

        status: Status | None = "disabled" if is_disabled else None

        def work(tables: HubTables) -> tuple[Identity | None, Identity | None]:
            """What was there before, and what was made if there was nothing."""
            before = tables.identities.find(self._hub, name)
            if before is None:
                draft = IdentityDraft(name, authentication, status=status, is_edge=is_edge)
                made = create_in(tables, self._hub, draft, now, is_told=False)
                first = initial_twin(self._hub, name, tags=tags, desired=desired, now=now)
                tables.twins.put(first if self.first_twins is None else self.first_twins.join(tables, first, now))
                tables.notifications.created(made, now)
                return None, made
            if not _has(before, authentication) or (is_disabled and before.status == "enabled"):
                draft = IdentityDraft(name, authentication, status=status, status_reason=before.status_reason)
                update_in(tables, self._hub, draft, now)
            if reset_data:
                twin = tables.twins.find(self._hub, name) or fresh_twin(self._hub, name)
                if not _holds(twin, tags, desired):
                    former, twin = twin, reset_twin(twin, tags=tags, desired=desired, now=now)
                    tables.twins.put(twin)
                    tell_of_twin(tables, former, twin, "replaceTwin", now)
                    data = {"patch": twin.desired.value, "version": twin.desired.version}
                    tables.outbox.emit(Event("twin.desired", self._hub, str(name), data))
            return before, None

        before, made = await self._store.write(work)
        if made is not None:
            audit_identity("created", made, _BY)
        elif before is not None and not _has(before, authentication):
            was, is_now = authentication_type(before.authentication), authentication_type(authentication)
            facts = {"hub": self._hub, "device": device_id, "was": was, "auth": is_now, "by": _BY}
            audit.info(
                "device.reauthenticated hub=%s device=%s was=%s auth=%s by=%s",
                *facts.values(),
                extra={"event": "device.reauthenticated", "facts": facts},
            )
        return self._answer(device_id, made is not None)

    async def data(self, device_id: DeviceId) -> tuple[Mapping[str, Any], Mapping[str, Any], bool] | None:
        """A device's tags, desired properties, and whether it is disabled; None when it is not here."""
        name, tables = IdentityName(device_id), self._store.read()
        identity = tables.identities.find(self._hub, name)
        if identity is None:
            return None
        twin = tables.twins.find(self._hub, name) or fresh_twin(self._hub, name)
        return twin.tags, twin.desired.value, identity.status == "disabled"

    async def remove(self, device_id: DeviceId) -> None:
        """Delete a device that went to another hub; nothing happens when it is gone already."""
        name = IdentityName(device_id)
        try:
            deleted = await self._store.write(lambda tables: delete_in(tables, self._hub, name))
        except NotFound:
            return
        audit_identity("deleted", deleted, _BY)


def _has(identity: Identity, authentication: Authentication) -> bool:
    """Whether giving `identity` this authentication would change nothing; an empty key asks for none in particular."""
    if isinstance(authentication, BySharedKey) and isinstance(identity.authentication, BySharedKey):
        wanted = authentication
        if not wanted.primary.reveal():
            wanted = replace(wanted, primary=identity.authentication.primary)
        if not wanted.secondary.reveal():
            wanted = replace(wanted, secondary=identity.authentication.secondary)
        return wanted == identity.authentication
    return identity.authentication == authentication


def _holds(twin: Twin, tags: Mapping[str, Any], desired: Mapping[str, Any]) -> bool:
    wanted = initial_twin(twin.hub, twin.name, tags=tags, desired=desired, now=_EPOCH)
    return twin.tags == wanted.tags and twin.desired.value == wanted.desired.value and not twin.reported.value
