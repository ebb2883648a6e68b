"""The hubs that this provisioning service assigns devices to: its own, and others by connection string.

The own hub is linked from the start, under all its names, until somebody takes it out; a provisioning service may well
stand in front of other hubs alone. Another hub is named by the host of its connection string, without the port: that is
what devices are told. Its key is shown to nobody again, so whoever writes a list back as it was read gives the stars
that it was shown, and keeps the key (contract/services.md 5.4, P-3).

`replace_in` and `set_default_in` work inside somebody's transaction, for a control plane that writes a resource whole.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, cast, get_args

from moorage.clock import Clock
from moorage.errors import Invalid, NotFound, TooLarge
from moorage.identities.policies import check_key
from moorage.ids import HubId, Secret
from moorage.provisioning.model import (
    AllocationPolicy,
    DefaultAllocation,
    HubChoice,
    LinkedHub,
    ProvisioningTables,
)
from moorage.store import Store

__all__ = [
    "HIDDEN",
    "MAX_LINKED_HUBS",
    "MAX_WEIGHT",
    "HubEndpoint",
    "LinkedHubDraft",
    "LinkedHubService",
    "parse_connection_string",
    "shown_connection_string",
]

audit = logging.getLogger("moorage.audit")

# As many as Azure links to one provisioning service.
MAX_LINKED_HUBS: Final = 50
MAX_WEIGHT: Final = 1000
# What stands in place of a key that is not shown.
HIDDEN: Final = "****"

_MAX_LOCATION: Final = 64
_MAX_CONNECTION_STRING: Final = 1024
_MADE: Final = "linked_hubs"
_DEFAULT: Final = "allocation_policy"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class HubEndpoint:
    """What a connection string says: where a hub's service API is, and as whom to ask there."""

    host: str
    port: int
    policy: str
    key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedHubDraft:
    """A link somebody wants. Without a connection string, or with one whose key is hidden, the key stays as stored."""

    host_name: str = ""
    connection_string: Secret | None = None
    location: str = ""
    weight: int = 1
    applies_policy: bool = True


def parse_connection_string(text: Secret) -> HubEndpoint:
    """Read `HostName=...;SharedAccessKeyName=...;SharedAccessKey=...` of a hub's policy.

    Raises `Invalid`: `linked_hub.connection_string`, `key.*`; the text is not shown.
    """
    members = _members(text)
    host, policy, key = (members.get(name, "") for name in ("hostname", "sharedaccesskeyname", "sharedaccesskey"))
    for name, value in (("HostName", host), ("SharedAccessKeyName", policy), ("SharedAccessKey", key)):
        if not value:
            raise _bad_string(f"{name} is missing")
    if not re.fullmatch(r"[!-~]{1,64}", policy):
        raise _bad_string("SharedAccessKeyName is no name of a policy")
    name, port = _split_host(host)
    return HubEndpoint(name, port, policy, check_key(Secret(key)))


def shown_connection_string(linked: LinkedHub, own_name: str) -> str:
    """With stars in place of the key."""
    if linked.connection_string is None:
        return f"HostName={own_name};SharedAccessKeyName=iothubowner;SharedAccessKey={HIDDEN}"
    endpoint = parse_connection_string(linked.connection_string)
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    port = "" if endpoint.port == 443 else f":{endpoint.port}"
    return f"HostName={host}{port};SharedAccessKeyName={endpoint.policy};SharedAccessKey={HIDDEN}"


class LinkedHubService:
    """The links of one provisioning service. `own_names` are those of its own hub, the preferred one first."""

    def __init__(self, hub: HubId, store: Store[ProvisioningTables], own_names: tuple[str, ...], clock: Clock) -> None:
        self.hub = hub
        self.own_names = own_names
        self._store = store
        self._clock = clock

    # --- reading -------------------------------------------------------------------------------------------------

    def all(self) -> list[LinkedHub]:
        """In the order in which they were linked."""
        return self.all_in(self._store.read())

    def get(self, host_name: str) -> LinkedHub:
        """The link that has this name, by all its names. Raises `NotFound` (`linked_hub.unknown`)."""
        return self._known(self.all(), host_name)

    def choices(self) -> tuple[HubChoice, ...]:
        """What devices can be assigned to."""
        return tuple(HubChoice(self.names_of(each), each.weight, each.applies_policy) for each in self.all())

    def names_of(self, linked: LinkedHub) -> tuple[str, ...]:
        """The preferred one first."""
        return self.own_names if linked.is_own else (linked.host_name,)

    def default_allocation(self) -> DefaultAllocation:
        """The policy of enrollments that name none."""
        return self.default_in(self._store.read())

    # --- changing ------------------------------------------------------------------------------------------------

    async def put(self, draft: LinkedHubDraft, *, by: str) -> LinkedHub:
        """Link a hub, or change a link.

        Raises:
            Invalid: `linked_hub.connection_string`, `linked_hub.hidden_key`, `linked_hub.weight`,
                `linked_hub.location`, `key.*`.
            TooLarge: `linked_hub.too_many`.
        """
        now = self._clock.now()

        def work(tables: ProvisioningTables) -> LinkedHub:
            present = self._begin_in(tables)
            linked = self._decide(draft, present, now)
            if linked.host_name not in (each.host_name for each in present):
                _check_room(len(present) + 1)
            tables.linked_hubs.put(linked)
            return linked

        linked = await self._store.write(work)
        self._audit("linked_hub.put", linked, by)
        return linked

    async def remove(self, host_name: str, *, by: str) -> None:
        """Take a link out; devices that were assigned there stay where they are until they provision again.

        Raises `NotFound` (`linked_hub.unknown`).
        """

        def work(tables: ProvisioningTables) -> LinkedHub:
            linked = self._known(self._begin_in(tables), host_name)
            tables.linked_hubs.delete(self.hub, linked.host_name)
            return linked

        self._audit("linked_hub.removed", await self._store.write(work), by)

    async def set_default_allocation(self, policy: DefaultAllocation, *, by: str) -> None:
        """For enrollments that are made from now on and name no policy."""
        await self._store.write(lambda tables: self.set_default_in(tables, policy))
        self.audit_default(policy, by)

    # --- inside a transaction ------------------------------------------------------------------------------------

    def all_in(self, tables: ProvisioningTables) -> list[LinkedHub]:
        linked = tables.linked_hubs.all(self.hub)
        if linked or tables.settings.get(_MADE, self.hub) is not None:
            return linked
        return [LinkedHub(self.hub, "", None, "", 1, True, 1, _EPOCH, _EPOCH)]

    def default_in(self, tables: ProvisioningTables) -> DefaultAllocation:
        found = tables.settings.get(_DEFAULT, self.hub)
        return cast("DefaultAllocation", found) if found in get_args(DefaultAllocation) else "hashed"

    def replace_in(self, tables: ProvisioningTables, drafts: Sequence[LinkedHubDraft]) -> list[LinkedHub]:
        """Make `drafts` all the links there are, in this order; returns them. Raises as `put`."""
        now = self._clock.now()
        _check_room(len(drafts))
        present = self._begin_in(tables)
        wanted: dict[str, LinkedHub] = {}
        for position, draft in enumerate(drafts, 1):
            linked = replace(self._decide(draft, present, now), position=position)
            if linked.host_name.lower() in wanted:
                raise Invalid("linked_hub.twice", f"{self.names_of(linked)[0]!r} is in the list twice")
            wanted[linked.host_name.lower()] = linked
        for each in present:
            if each.host_name.lower() not in wanted:
                tables.linked_hubs.delete(self.hub, each.host_name)
        for linked in wanted.values():
            tables.linked_hubs.put(linked)
        return list(wanted.values())

    def set_default_in(self, tables: ProvisioningTables, policy: DefaultAllocation) -> None:
        tables.settings.put(_DEFAULT, policy, self.hub)

    def audit_replaced(self, linked: Sequence[LinkedHub], by: str) -> None:
        """After the commit of `replace_in`."""
        names = ",".join(self.names_of(each)[0] for each in linked)
        facts = {"hub": self.hub, "linked": names, "by": by}
        audit.info(
            "linked_hubs.replaced hub=%s linked=%s by=%s",
            *facts.values(),
            extra={"event": "linked_hubs.replaced", "facts": facts},
        )

    def audit_default(self, policy: AllocationPolicy, by: str) -> None:
        """After the commit of `set_default_in`."""
        facts = {"hub": self.hub, "policy": policy, "by": by}
        audit.info(
            "allocation_policy.set hub=%s policy=%s by=%s",
            *facts.values(),
            extra={"event": "allocation_policy.set", "facts": facts},
        )

    # --- deciding ------------------------------------------------------------------------------------------------

    def _begin_in(self, tables: ProvisioningTables) -> list[LinkedHub]:
        """The links, written down: from now on the own hub is linked only if it is among them."""
        present = self.all_in(tables)
        if tables.settings.get(_MADE, self.hub) is None:
            for each in present:
                tables.linked_hubs.put(replace(each, created=self._clock.now(), updated=self._clock.now()))
            tables.settings.put(_MADE, "yes", self.hub)
        return present

    def _decide(self, draft: LinkedHubDraft, present: Sequence[LinkedHub], now: datetime) -> LinkedHub:
        if not 0 <= draft.weight <= MAX_WEIGHT:
            raise Invalid("linked_hub.weight", f"a hub's weight is 0 to {MAX_WEIGHT}, not {draft.weight}")
        if len(draft.location) > _MAX_LOCATION or not draft.location.isprintable():
            raise Invalid(
                "linked_hub.location", f"a location is at most {_MAX_LOCATION} printable characters, this is none"
            )
        text = draft.connection_string
        name = self._name_in(text) if text is not None else draft.host_name
        is_own = name.lower() in self.own_names
        stored = self._find(present, name)
        if is_own:
            text = None
        elif text is None or _members(text).get("sharedaccesskey") == HIDDEN:
            if stored is None:
                raise Invalid(
                    "linked_hub.hidden_key",
                    f"{name[:253]!r} is not linked; linked: {self._named(present)}. To link it takes its connection "
                    "string with the key",
                    fix="moorage linked-hub add FILE",
                )
            if text is not None and stored.connection_string is not None:
                _check_same_place(text, parse_connection_string(stored.connection_string))
            text = stored.connection_string
        else:
            parse_connection_string(text)
        return LinkedHub(
            hub=self.hub,
            host_name="" if is_own else (stored.host_name if stored else name),
            connection_string=text,
            location=draft.location,
            weight=draft.weight,
            applies_policy=draft.applies_policy,
            position=stored.position if stored else max((each.position for each in present), default=0) + 1,
            created=stored.created if stored else now,
            updated=now,
        )

    def _name_in(self, text: Secret) -> str:
        host = _members(text).get("hostname", "")
        if not host:
            raise _bad_string("HostName is missing")
        return _split_host(host)[0]

    def _find(self, present: Sequence[LinkedHub], name: str) -> LinkedHub | None:
        wanted = name.lower()
        return next((each for each in present if wanted in (known.lower() for known in self.names_of(each))), None)

    def _known(self, present: Sequence[LinkedHub], name: str) -> LinkedHub:
        linked = self._find(present, name)
        if linked is None:
            raise NotFound("linked_hub.unknown", f"{name[:253]!r} is not linked; linked: {self._named(present)}")
        return linked

    def _named(self, present: Sequence[LinkedHub]) -> str:
        return ", ".join(self.names_of(each)[0] for each in present) or "none"

    def _audit(self, event: str, linked: LinkedHub, by: str) -> None:
        facts = {
            "hub": self.hub,
            "linked": self.names_of(linked)[0],
            "weight": linked.weight,
            "policy": linked.applies_policy,
            "by": by,
        }
        text = "%s hub=%s linked=%s weight=%s policy=%s by=%s"
        audit.info(text, event, *facts.values(), extra={"event": event, "facts": facts})


def _members(text: Secret) -> dict[str, str]:
    if len(text) > _MAX_CONNECTION_STRING:
        raise _bad_string(f"it has more than {_MAX_CONNECTION_STRING} characters")
    members: dict[str, str] = {}
    for part in text.reveal().strip().rstrip(";").split(";"):
        name, equals, value = part.partition("=")
        if not equals:
            raise _bad_string("one of its parts has no '='")
        members[name.strip().lower()] = value.strip()
    return members


def _check_same_place(text: Secret, kept: HubEndpoint) -> None:
    """With its key hidden a connection string changes nothing: so it must not say anything else either.

    Raises `Invalid` (`linked_hub.hidden_key`).
    """
    members = _members(text)
    _, port = _split_host(members.get("hostname", ""))
    policy = members.get("sharedaccesskeyname", kept.policy)
    if (port, policy) != (kept.port, kept.policy):
        raise Invalid(
            "linked_hub.hidden_key",
            f"{kept.host!r} is linked at port {kept.port} by the policy {kept.policy!r}; to change that to port {port} "
            f"and {policy[:64]!r} takes the key as well, in place of the stars",
            fix="moorage linked-hub add FILE",
        )


def _split_host(text: str) -> tuple[str, int]:
    """Name in lower case, and port."""
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
        port_text = rest.removeprefix(":") if rest else ""
    else:
        name, _, port_text = text.partition(":")
    if port_text and not (re.fullmatch("[0-9]{1,5}", port_text) and 0 < int(port_text) < 65536):
        raise _bad_string("HostName has a port that is none")
    try:
        name = str(ipaddress.ip_address(name))
    except ValueError:
        if not _HOST.fullmatch(name):
            raise _bad_string("HostName is no host name") from None
    return name.lower(), int(port_text or 443)


def _bad_string(why: str) -> Invalid:
    return Invalid(
        "linked_hub.connection_string",
        f"this is no connection string of a hub: {why}",
        fix="on that hub: moorage env",
    )


def _check_room(count: int) -> None:
    if count > MAX_LINKED_HUBS:
        raise TooLarge("linked_hub.too_many", f"at most {MAX_LINKED_HUBS} hubs can be linked, {count} would be")
