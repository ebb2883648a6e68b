"""Import and export jobs as values, and the ports they need (contract/services.md 2.11, jobs v1).

A transfer carries a checkpoint, which is stored in the same transaction as what it stands for: after a crash it goes on
behind the last line that was dealt with, and nothing is done twice. `input` and `output` are containers; their URIs
hold signatures that let anybody in, so they are secrets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from moorage.hub.model import HubTables
from moorage.ids import HubId, IdentityName, Secret

__all__ = [
    "ACTIVE",
    "Checkpoint",
    "Containers",
    "Piece",
    "RefusedLine",
    "Transfer",
    "TransferKind",
    "TransferStatus",
    "TransferTable",
    "TransferTables",
]

TransferKind = Literal["import", "export"]
TransferStatus = Literal["running", "completed", "failed", "cancelled"]
ACTIVE: TransferStatus = "running"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a transfer has come.

    Attributes:
        position: bytes of the blob that were dealt with: read by an import, written by an export.
        count: lines read by an import in this round, devices written by an export.
        blocks: how many blocks an export has written.
        after: the identity that an export wrote last, as its MQTT client id; empty at the start.
        round: which pass of an import over its blob this is, from 0.
        applied: lines that were applied in this round.
        version: the input blob's etag: one that changes meanwhile is not read on.
    """

    position: int = 0
    count: int = 0
    blocks: int = 0
    after: str = ""
    round: int = 0
    applied: int = 0
    version: str = ""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One import or export. `failure` says why it failed, or that lines of an import were refused."""

    hub: HubId
    job_id: str
    kind: TransferKind
    status: TransferStatus
    created: datetime
    output: Secret
    output_blob: str
    input: Secret = Secret("")
    input_blob: str = ""
    with_keys: bool = True
    ended: datetime | None = None
    progress: int = 0
    failure: str | None = None
    checkpoint: Checkpoint = Checkpoint()


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line of an import that was refused. `report` is what importErrors.log says of it.

    `waits` says that it named something which may still come: it is tried again in the next round.
    """

    line: int
    report: str
    waits: bool = False


class TransferTable(Protocol):
    """Transfers by job id, and the lines that each refused."""

    def find(self, hub: HubId, job_id: str) -> Transfer | None: ...

    def put(self, transfer: Transfer) -> None:
        """Insert or replace."""

    def all(self, hub: HubId) -> list[Transfer]:
        """The newest first."""

    def delete(self, hub: HubId, job_id: str) -> None:
        """It and its refused lines."""

    def put_refused(self, hub: HubId, job_id: str, lines: Iterable[RefusedLine]) -> None:
        """Insert or replace."""

    def forget_refused(self, hub: HubId, job_id: str, line: int) -> None: ...

    def clear_refused(self, hub: HubId, job_id: str) -> None: ...

    def refused(self, hub: HubId, job_id: str, after: int, limit: int) -> list[RefusedLine]:
        """In order of their lines, those behind line `after`."""

    def waiting(self, hub: HubId, job_id: str, first: int, last: int) -> set[int]:
        """The lines from `first` to `last` that wait for the next round."""

    def count_refused(self, hub: HubId, job_id: str) -> tuple[int, int]:
        """(all, those that wait)."""

    def list_identities(self, hub: HubId, limit: int, after: IdentityName | None) -> list[IdentityName]:
        """Names of devices and modules in their order, each device before its modules."""


class TransferTables(HubTables, Protocol):
    """What transfers need of a store."""

    @property
    def transfers(self) -> TransferTable: ...


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a blob, how long the whole is, and its etag."""

    data: bytes
    total: int
    version: str


class Containers(Protocol):
    """Where blobs lie. Everything raises `Invalid` (`container.*`) for what cannot be used at all, and `Unavailable`
    (`container.*`, `egress.*`) for what may work the next time."""

    def check(self, container: Secret, blob: str) -> None:
        """Judge a container's URI and a blob's name without looking there."""

    async def read(self, container: Secret, blob: str, *, offset: int, size: int, version: str) -> Piece:
        """At most `size` bytes from `offset`; none at the end. `version` empty fits any."""

    async def put_block(self, container: Secret, blob: str, *, number: int, offset: int, data: bytes) -> None:
        """Write block `number`, counted from 0, which begins at `offset`; again is as once."""

    async def commit(self, container: Secret, blob: str, *, blocks: int, size: int) -> None:
        """Make the blob of its first `blocks` blocks, `size` bytes in all; again is as once."""
