"""*Device operations* as values: what is done to many devices, how far it has come, and where that is kept.

What is still to be done lies in batches. A batch is taken out in the transaction that does it, in which the counts and
the errors are written too: an operation that is cut off anywhere goes on with the first device that is not done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, NewType, Protocol

from moorage.accounts.model import Actor, Maker, OrganizationId, Permission
from moorage.accounts.tables import AccountTables
from moorage.errors import Forbidden
from moorage.fleet.model import UNASSIGNED, FleetTables, TemplateId
from moorage.ids import DeviceId, HubId

__all__ = [
    "ActKind",
    "BulkAct",
    "Item",
    "ItemError",
    "Operation",
    "OperationId",
    "OperationState",
    "OperationTable",
    "OperationTables",
    "check_right",
]

OperationId = NewType("OperationId", str)
ActKind = Literal["approve", "block", "unblock", "migrate", "move", "attach", "detach", "delete", "import"]
OperationState = Literal["waiting", "running", "done", "stopped", "failed"]

# What else an act takes than to change devices.
_TAKES: Final[Mapping[ActKind, Permission]] = MappingProxyType({"delete": "devices.delete"})


@dataclass(frozen=True, slots=True)
class BulkAct:
    """What is done to each device.

    Attributes:
        template: to migrate to, or of the devices that are imported.
        organization: to move to, or of the devices that are imported.
        gateway: to attach to.
    """

    kind: ActKind
    template: TemplateId = UNASSIGNED
    organization: OrganizationId = OrganizationId("")
    gateway: DeviceId | None = None


class Item(NamedTuple):
    """A device; where it comes from a file, with its line there, its name, and why the line is none (`reason`)."""

    device_id: str
    line: int = 0
    display_name: str = ""
    reason: str = ""
    message: str = ""

    @property
    def label(self) -> str:
        """For people."""
        return ", ".join(filter(None, (f"line {self.line}" if self.line else "", self.device_id)))


class ItemError(NamedTuple):
    """`item` is the label of what failed."""

    item: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One piece of bulk work. `message` says why it ended before it was done; '' where it did not."""

    hub: HubId
    operation_id: OperationId
    title: str
    act: BulkAct
    maker: Maker
    started: datetime
    total: int
    state: OperationState = "waiting"
    done: int = 0
    failed: int = 0
    ended: datetime | None = None
    message: str = ""

    @property
    def is_over(self) -> bool:
        return self.ended is not None

    @property
    def percent(self) -> int:
        seen = self.done + self.failed
        return 100 if self.state == "done" else min(99, seen * 100 // self.total) if self.total else 0


class OperationTable(Protocol):
    """Operations, their batches, which are worked off in the order of their numbers, and their errors."""

    def find(self, hub: HubId, operation_id: OperationId) -> Operation | None: ...

    def put(self, operation: Operation) -> None: ...

    def of(self, hub: HubId, maker: str, limit: int) -> list[Operation]:
        """Those of whoever has that key, the newest first."""

    def unfinished(self, hub: HubId) -> list[Operation]:
        """Of everybody, the oldest first."""

    def beyond(self, hub: HubId, number: int) -> list[OperationId]:
        """Those that are over, without the newest `number` of them."""

    def delete(self, hub: HubId, operation_id: OperationId) -> None:
        """With its errors."""

    def put_batches(self, hub: HubId, operation_id: OperationId, first: int, batches: Sequence[Sequence[Item]]) -> None:
        """Under the numbers from `first` on."""

    def first_batch(self, hub: HubId, operation_id: OperationId) -> tuple[int, list[Item]] | None: ...

    def delete_batch(self, hub: HubId, operation_id: OperationId, number: int) -> None: ...

    def delete_batches(self, hub: HubId, operation_id: OperationId, limit: int) -> int:
        """How many were deleted, at most `limit`."""

    def with_batches(self, hub: HubId) -> list[OperationId]:
        """Operations that have batches, whether they are there themselves or not."""

    def add_errors(self, hub: HubId, operation_id: OperationId, first: int, errors: Iterable[ItemError]) -> None:
        """Under the numbers from `first` on."""

    def errors(self, hub: HubId, operation_id: OperationId) -> list[ItemError]:
        """In the order in which they came."""


class OperationTables(FleetTables, AccountTables, Protocol):
    @property
    def operations(self) -> OperationTable: ...


def check_right(actor: Actor, act: BulkAct) -> None:
    """Raises `Forbidden` (`operations.permission`)."""
    for permission in ("devices.manage", _TAKES.get(act.kind)):
        if permission is not None and not actor.may(permission):
            raise Forbidden(
                "operations.permission", f"{actor.name} has no permission {permission}, which to {act.kind} takes"
            )
