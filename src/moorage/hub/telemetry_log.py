"""The telemetry log as the hub sees it: what is stored with a message, and what a log promises.

A log is one stream of batches. Records of every partition share it; inside a partition they are numbered from 0
without a gap, and their enqueued time never decreases. `append` puts a record into the batch that gathers; the log
makes a whole batch durable at once and then calls `LogListener.log_durable` once, however many records it held. Nothing
but a few bytes in a buffer exists per message: whoever has to acknowledge keeps its own list per batch number.

    append ──► gathering batch ──► being synced (at most one) ──► log_durable(batch)
                     │                        └─ disk said no ──► log_failed(refusal), until `reopen`
                     └─ over the high water mark ──► log_high_water() ... log_low_water(); over the limit: `log.backlog`

An *offset* is a place in the whole stream, so it also grows within every partition; it says nothing about how many
records lie between two. Readers see only what is durable.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple, Protocol

from moorage.errors import Invalid, Unavailable

__all__ = [
    "LogCorrupt",
    "LogListener",
    "Page",
    "PartitionState",
    "SourceHeader",
    "StoredMessage",
    "TelemetryLog",
    "follow",
    "partition_of",
    "resumed_at",
]

logger = logging.getLogger(__name__)

FOLLOW_PAUSE_S = 0.005

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SOURCE_VERSION = 1
_LENGTH = struct.Struct("<H")
_ABSENT = 0xFFFF
# The record's length field for the whole header is 16 bits wide (adapters/log/format.py).
_MAX_SOURCE_BYTES = 0xFFFF


class SourceHeader(NamedTuple):
    """Who sent a message and how it proved that: the same for every message of a session, so encoded once.

    `message_source` is `Telemetry`, `twinChangeEvents` and so on; `auth_method` is the JSON text of
    `iothub-connection-auth-method` (contract/services.md 4.5).
    """

    hub_id: str
    message_source: str
    device_id: str
    module_id: str | None
    generation_id: str
    auth_method: str
    model_id: str | None

    def encode(self) -> bytes:
        """Raises `Invalid` (`log.source_size`) when the texts together pass 64 KiB."""
        parts = [bytes((_SOURCE_VERSION,))]
        for text in self:
            if text is None:
                parts.append(_LENGTH.pack(_ABSENT))
                continue
            data = text.encode()
            if len(data) >= _ABSENT:
                raise Invalid("log.source_size", f"{len(data)} bytes of {text[:40]!r}; a source holds 64 KiB in all")
            parts += (_LENGTH.pack(len(data)), data)
        encoded = b"".join(parts)
        if len(encoded) > _MAX_SOURCE_BYTES:
            raise Invalid("log.source_size", f"device id, model id and the rest are {len(encoded)} bytes, limit 64 KiB")
        return encoded

    @staticmethod
    @lru_cache(maxsize=4096)
    def decode(data: bytes) -> SourceHeader:
        """Raises `ValueError` for bytes that `encode` never made."""
        if data[:1] != bytes((_SOURCE_VERSION,)):
            raise ValueError(f"source header of version {data[:1].hex() or 'none'}, this release reads 1")
        fields: list[str | None] = []
        at = 1
        for _ in range(7):
            try:
                (length,) = _LENGTH.unpack_from(data, at)
            except struct.error as error:
                raise ValueError("source header ends early") from error
            at += 2
            if length == _ABSENT:
                fields.append(None)
                continue
            if at + length > len(data):
                raise ValueError("source header ends early")
            fields.append(data[at : at + length].decode())
            at += length
        hub_id, message_source, device_id, module_id, generation_id, auth_method, model_id = fields
        if at != len(data) or None in (hub_id, message_source, device_id, generation_id, auth_method):
            raise ValueError("source header with bytes left over or a name missing")
        return SourceHeader(
            hub_id or "",
            message_source or "",
            device_id or "",
            module_id,
            generation_id or "",
            auth_method or "",
            model_id,
        )


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message as it was stored. `bag` is the raw property bag of the topic; `enqueued_ms` is Unix time."""

    source: SourceHeader
    partition: int
    sequence: int
    offset: int
    enqueued_ms: int
    bag: bytes
    body: bytes

    @property
    def enqueued_time(self) -> datetime:
        return _EPOCH + timedelta(milliseconds=self.enqueued_ms)


class Page(NamedTuple):
    """Messages in stream order. Read on from `next_offset`; `at_end` says that nothing durable lay beyond it."""

    messages: list[StoredMessage]
    next_offset: int
    at_end: bool


@dataclass(frozen=True, slots=True)
class PartitionState:
    """What a partition holds. All durable; -1 stands for "none yet", as the Event Hubs clients expect."""

    partition: int
    begin_sequence: int
    last_sequence: int
    last_offset: int
    last_enqueued_ms: int
    is_empty: bool


class LogCorrupt(Unavailable):
    """Stored bytes are not what was written. Reading may go on with `from_offset=resume_offset`.

    `resume_offset` lies behind the damage: who reads on from there is not told of it again.
    """

    def __init__(self, message: str, *, offset: int, resume_offset: int, fix: str = "") -> None:
        super().__init__("log.corrupt", message, fix=fix or f"read on from offset {resume_offset}")
        self.offset = offset
        self.resume_offset = resume_offset


class LogListener(Protocol):
    """Called on the event loop, once per batch or change, never per message."""

    def log_durable(self, batch: int) -> None:
        """Every record of `batch` is on disk. Batches come in order, each once."""

    def log_failed(self, refusal: Unavailable) -> None:
        """No batch that is not yet durable will become so. `append` refuses until `reopen`; ends back-pressure too."""

    def log_high_water(self) -> None:
        """Stop reading from devices: the disk is behind."""

    def log_low_water(self) -> None:
        """The backlog is small again."""


class TelemetryLog(Protocol):
    """Durable telemetry. `append` and the properties belong to the event loop; reads run in threads."""

    @property
    def partitions(self) -> int: ...

    @property
    def batch(self) -> int:
        """Number of the batch that gathers now; grows."""

    @property
    def backlog_bytes(self) -> int:
        """Bytes taken and not yet durable."""

    @property
    def durable_start(self) -> int:
        """The offset of the oldest that is kept: retention has taken what came before."""

    @property
    def durable_end(self) -> int:
        """The offset after everything durable: following from here shows only what is new."""

    @property
    def failed(self) -> Unavailable | None:
        """Why the log takes nothing, or None."""

    def append(self, source: bytes, partition: int, bag: bytes, body: bytes, enqueued_ms: int) -> int:
        """Put one record into the gathering batch and return that batch's number. Copies what it needs at once.

        Raises `Unavailable`: `log.backlog` over the limit, `log.disk_full` or `log.write_failed` once a batch failed,
        `log.closed`.
        """

    async def read(
        self,
        partition: int | None = None,
        *,
        from_sequence: int | None = None,
        from_offset: int | None = None,
        from_time: int | None = None,
        device_id: str | None = None,
        limit: int = 256,
    ) -> Page:
        """Durable messages for which every bound holds (all inclusive), of one partition or of all in stream order.

        `from_time` is Unix milliseconds; `from_sequence` needs a partition. One call looks at a bounded stretch of the
        log, so a page may be empty or short although more follows: go by `at_end`.

        Raises `LogCorrupt` where stored bytes are damaged, `Invalid` (`log.partition`) for one that does not exist.
        """

    async def latest(self, partition: int) -> PartitionState:
        """Raises `LogCorrupt`, `Invalid` (`log.partition`)."""

    async def wait_beyond(self, offset: int) -> None:
        """Return once `durable_end` is greater than `offset`."""

    async def enforce_retention(self, now: datetime) -> int:
        """Remove whole segments past the age or size kept; the number removed. To be called now and then.

        Also notices when the files that are written have been taken away, and goes on in fresh ones.
        """

    async def reopen(self) -> None:
        """After `log_failed`: go on in a fresh segment behind what is durable. Raises `Unavailable` if that fails."""

    async def close(self) -> None:
        """Make everything taken durable, then let go of the files."""


def partition_of(device_id: str, partitions: int) -> int:
    """The partition of a device: the same on every machine and in every release, since readers rely on it."""
    return zlib.crc32(device_id.encode()) % partitions


def resumed_at(log: TelemetryLog, kept: int | None, *, reader: str) -> int:
    """Where `reader` goes on that kept its place; at the end of the log where it kept none.

    A place behind the end is one of another log: the folder was taken away, or brought back from a copy. What is there
    was read long ago, and what comes is not to wait for a place that may never be reached.
    """
    end = log.durable_end
    if kept is None:
        return end
    if kept > end:
        logger.error("log_begun_anew reader=%r place=%d end=%d; it goes on at the end", reader, kept, end)
    return min(kept, end)


async def follow(
    log: TelemetryLog,
    partition: int | None = None,
    *,
    from_sequence: int | None = None,
    from_offset: int | None = None,
    from_time: int | None = None,
    device_id: str | None = None,
    limit: int = 256,
) -> AsyncIterator[Page]:
    """Non-empty pages, without end: first what is stored, then what becomes durable.

    A reader that is slow costs nothing: it holds a place in the log, not a queue. Raises `LogCorrupt` where bytes are
    damaged; follow again from its `resume_offset`.
    """
    while True:
        page = await log.read(
            partition,
            from_sequence=from_sequence,
            from_offset=from_offset,
            from_time=from_time,
            device_id=device_id,
            limit=limit,
        )
        if page.messages:
            yield page
        from_offset = page.next_offset
        if page.at_end:
            await log.wait_beyond(from_offset)
            # Under load batches come every millisecond; a follower need not hop to a thread for each.
            await asyncio.sleep(FOLLOW_PAUSE_S)
