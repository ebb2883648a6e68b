"""Devices as the application knows them (contract/central.md 5, 6, 10), and the port to where they are kept.

    + New, import, PUT ──► registered ──first registration──► provisioned ◄── the hub's own API makes an identity
    unknown device registers, auto-approve off ──► waiting ──Approve──► registered
    any ──Block──► blocked ──Unblock──► what it was before

A `DeviceRecord` stands beside the identity of the same name, and may be there before it and without it. The store keeps
the two together: whatever makes an identity makes its record, and whatever deletes it deletes the record too; an
identity that is disabled is a blocked device, and the other way round. So nobody sets a state: it is what three facts
say (`state_of`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, NewType, Protocol, get_args

from moorage.accounts.model import OrganizationId
from moorage.accounts.organizations import OrganizationTable
from moorage.errors import Invalid
from moorage.identities.model import Identity, RegistryTables
from moorage.ids import DeviceId, ETag, HubId, parse_device_id
from moorage.provisioning.model import ProvisioningTables

__all__ = [
    "COLUMNS",
    "MAX_DISPLAY_NAME",
    "STATES",
    "UNASSIGNED",
    "Device",
    "DeviceChange",
    "DeviceColumn",
    "DeviceDraft",
    "DeviceFilter",
    "DeviceOrder",
    "DeviceRecord",
    "DeviceState",
    "DeviceTable",
    "FleetTables",
    "Place",
    "Tally",
    "TemplateId",
    "check_display_name",
    "parse_plain_id",
    "state_of",
]

# A DTDL identifier (central.md ID-11).
TemplateId = NewType("TemplateId", str)
# What a device without a template has (ST-5).
UNASSIGNED: Final = TemplateId("")

DeviceState = Literal["registered", "provisioned", "waiting", "blocked"]
STATES: Final[tuple[DeviceState, ...]] = get_args(DeviceState)

# central.md ID-2
MAX_DISPLAY_NAME: Final = 148
# central.md ID-1
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9-]{1,128}")


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """What the application keeps of a device. `version` counts the changes that people make.

    Attributes:
        template: `UNASSIGNED` while it has none.
        organization: '' is the root.
        is_approved: False for a device that registered itself and waits for somebody to let it in.
        is_provisioned: whether the hub has an identity for it; kept by the store.
        manifest: the edge manifest that it is to run; '' for none.
    """

    hub: HubId
    device_id: DeviceId
    display_name: str
    created: datetime
    template: TemplateId = UNASSIGNED
    organization: OrganizationId = OrganizationId("")
    is_simulated: bool = False
    is_edge: bool = False
    is_approved: bool = True
    is_blocked: bool = False
    is_provisioned: bool = False
    manifest: str = ""
    version: int = 1

    @property
    def etag(self) -> ETag:
        # With the time of creation, so that what is deleted and made again never has an etag of its forerunner.
        return ETag(f"{int(self.created.timestamp() * 1_000_000):014x}-{self.version:08x}")

    @property
    def state(self) -> DeviceState:
        return state_of(self)


@dataclass(frozen=True, slots=True)
class Device:
    """A record with the identity that the hub has for it, None before its first registration."""

    record: DeviceRecord
    identity: Identity | None

    @property
    def state(self) -> DeviceState:
        return state_of(self.record)


def state_of(record: DeviceRecord) -> DeviceState:
    """central.md 5.1. The schema of the store says the same in SQL; a test compares them."""
    if record.is_blocked:
        return "blocked"
    if not record.is_approved:
        return "waiting"
    return "provisioned" if record.is_provisioned else "registered"


@dataclass(frozen=True, slots=True)
class DeviceDraft:
    """A device to be made. `display_name` '' takes the id."""

    device_id: DeviceId
    display_name: str = ""
    template: TemplateId = UNASSIGNED
    organization: OrganizationId = OrganizationId("")
    is_simulated: bool = False
    is_edge: bool = False
    is_blocked: bool = False
    manifest: str = ""


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """What to change of a device; None leaves it as it is."""

    display_name: str | None = None
    template: TemplateId | None = None
    organization: OrganizationId | None = None
    is_simulated: bool | None = None
    is_blocked: bool | None = None
    manifest: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """Which devices. None and '' are any, except that a `template` of '' is those that have none.

    `text` is looked for in ids and names, whatever its case; `organizations` are those that a device may be in.
    """

    text: str = ""
    state: DeviceState | None = None
    template: TemplateId | None = None
    organizations: frozenset[OrganizationId] | None = None
    is_connected: bool | None = None


# What a list of devices can be sorted by (central.md LST-1). `connection` is when a device was last heard of.
DeviceColumn = Literal["id", "name", "status", "template", "organization", "simulated", "connection"]
COLUMNS: Final[tuple[DeviceColumn, ...]] = get_args(DeviceColumn)


@dataclass(frozen=True, slots=True)
class DeviceOrder:
    """By a column, and by ids, upwards, where that says the same of two.

    `labels` are the words by which a status, template or organization is sorted; one without words is its own.
    """

    column: DeviceColumn = "id"
    is_descending: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


class Place(NamedTuple):
    """Where a device stands in an order: what its column says, as text, and its id."""

    key: str
    device_id: DeviceId


class Tally(NamedTuple):
    """How many devices have one template, organisation and state."""

    organization: OrganizationId
    template: TemplateId
    state: DeviceState
    devices: int

    def fits(self, wanted: DeviceFilter) -> bool:
        """Whether the devices of this kind are among those, as far as the kind decides it."""
        return (
            wanted.state in (None, self.state)
            and wanted.template in (None, self.template)
            and (wanted.organizations is None or self.organization in wanted.organizations)
        )


def parse_plain_id(text: str) -> DeviceId:
    """A device id as forms take it (central.md ID-1, ID-2); the hub's own API takes more. Raises `Invalid`."""
    if not _PLAIN_ID.fullmatch(text):
        raise Invalid(
            "id.device_plain", f"{text[:140]!r} is not a device id: it takes 1 to 128 letters, digits and hyphens"
        )
    return parse_device_id(text)


def check_display_name(text: str) -> str:
    """Raises `Invalid` (`device.display_name`)."""
    name = text.strip()
    if len(name) > MAX_DISPLAY_NAME or any(ord(character) < 32 for character in name):
        raise Invalid(
            "device.display_name",
            f"a device's name has at most {MAX_DISPLAY_NAME} characters on one line, this has {len(name)}",
        )
    return name


class DeviceTable(Protocol):
    """Records of devices, keyed by (hub, device id), compared with case."""

    def find(self, hub: HubId, device_id: DeviceId) -> DeviceRecord | None: ...

    def put(self, record: DeviceRecord) -> None:
        """Insert or replace, with `is_provisioned` as it is stored: that follows the identity."""

    def delete(self, hub: HubId, device_id: DeviceId) -> None: ...

    def ids(
        self,
        hub: HubId,
        wanted: DeviceFilter,
        limit: int,
        after: str = "",
        *,
        fits: Callable[[str], bool] | None = None,
    ) -> list[DeviceId]:
        """In their order. `fits` says of an id what no store knows: whether it is connected."""

    def places(
        self,
        hub: HubId,
        wanted: DeviceFilter,
        order: DeviceOrder,
        limit: int,
        after: Place | None = None,
        *,
        fits: Callable[[str], bool] | None = None,
    ) -> list[Place]:
        """In an order, those behind `after`. Each call looks at every device once, so it is for a thread.

        By `connection`: by when the store knows that each was last heard of, in microseconds, 0 for never.
        """

    def find_many(self, hub: HubId, device_ids: Sequence[DeviceId]) -> list[DeviceRecord]:
        """Those that there are, in the order that was asked for."""

    def tallies(self, hub: HubId) -> list[Tally]:
        """How many devices there are of each kind; read from a row for each kind, however many devices there are."""

    def unassigned(self, hub: HubId, model_id: str, limit: int, after: str = "") -> list[DeviceId]:
        """Those without a template that said, when they connected, that they are of this model; in their order."""

    def simulated(self, hub: HubId) -> list[DeviceRecord]:
        """In the order of their ids."""

    def cloud_properties(self, hub: HubId, device_id: DeviceId) -> Mapping[str, Any]: ...

    def put_cloud_properties(self, hub: HubId, device_id: DeviceId, values: Mapping[str, Any]) -> None:
        """Replace them; the record has to be there."""


class FleetTables(RegistryTables, ProvisioningTables, Protocol):
    """What the fleet needs of a store: its own records, and what they stand beside."""

    def savepoint(self) -> AbstractContextManager[None]:
        """What is written inside is undone alone, events included, when it raises."""

    @property
    def devices(self) -> DeviceTable: ...

    @property
    def organizations(self) -> OrganizationTable: ...
