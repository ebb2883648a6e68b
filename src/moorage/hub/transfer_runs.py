"""Carrying out one import or export, from wherever its checkpoint stands to its end.

    import   read a piece ─► cut it into lines ─► apply a batch of them and store the checkpoint, in one transaction
    export   read a page of the registry ─► gather a block ─► write the block ─► store the checkpoint

Nothing is held but a piece, a batch and a block, however large the fleet is. Before each step the stored transfer is
looked at: one that was cancelled meanwhile is not touched any more.

A line may need another one that comes later: a child its gateway, a module its device. Such lines wait, and the blob is
read again for them as long as that leads on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol, TypeVar

from moorage.clock import Clock
from moorage.errors import Refusal, TooLarge, Unavailable
from moorage.hub.bulk import BulkItem, Outcome, apply_item, audit_outcomes
from moorage.hub.lines import MAX_LINE_BYTES, Line, LineCutter
from moorage.hub.model import Twin
from moorage.hub.transfer_model import (
    ACTIVE,
    Checkpoint,
    Containers,
    RefusedLine,
    Transfer,
    TransferTables,
)
from moorage.identities.model import Identity
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId
from moorage.store import Store

__all__ = ["BLOCK_BYTES", "ERRORS_BLOB", "Codec", "TransferRun", "export_page"]

ERRORS_BLOB: Final = "importErrors.log"
BLOCK_BYTES: Final = 4 * 1024 * 1024
_PIECE_BYTES: Final = 1024 * 1024
# One transaction: others who write wait no longer than for these.
_BATCH_LINES: Final = 100
_BATCH_BYTES: Final = 256 * 1024
_PAGE: Final = 100
_ERRORS_PAGE: Final = 1000
# As deep as gateways nest, and one more.
_MAX_ROUNDS: Final = 6
# About a minute in all: a network that is gone for longer is somebody's to look at.
_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)

T = TypeVar("T")


class Codec(Protocol):
    """Lines of blobs, in both directions."""

    def parse(self, line: bytes) -> BulkItem:
        """Raises `Invalid`."""

    def report(self, number: int, name: IdentityName | None, refusal: Refusal) -> str:
        """What importErrors.log says of line `number`, without a line's end."""

    def encode(self, identity: Identity, twin: Twin | None, *, with_keys: bool) -> bytes:
        """A line of an export, with its end."""


class TransferRun:
    """Carries out transfers, one after another."""

    def __init__(self, store: Store[TransferTables], containers: Containers, codec: Codec, clock: Clock) -> None:
        self._store = store
        self._containers = containers
        self._codec = codec
        self._clock = clock

    async def run(self, transfer: Transfer) -> None:
        """To its end, which is stored; or until somebody cancels it. Raises `Refusal` with what stands in the way."""
        finish = await (self._import(transfer) if transfer.kind == "import" else self._export(transfer))
        if finish is not None:
            await self._patiently(lambda: self._store.write(lambda tables: _complete(tables, finish, self._clock)))

    # -- import --------------------------------------------------------------------------------------------------------

    async def _import(self, transfer: Transfer) -> Transfer | None:
        """What it is at its end; None when it was cancelled."""
        current: Transfer | None = transfer
        while current is not None:
            current = await self._round(current)
            if current is None:
                return None
            following = await self._patiently(partial(self._store.write, partial(_next_round, current)))
            if following is None:
                return await self._write_errors(current)
            current = following
        return None

    async def _round(self, transfer: Transfer) -> Transfer | None:
        """Read the blob from the checkpoint to its end."""
        position = transfer.checkpoint.position
        cutter = LineCutter(position, transfer.checkpoint.count)
        while True:
            read = partial(self._containers.read, offset=position, size=_PIECE_BYTES)
            known = transfer.checkpoint.version
            piece = await self._patiently(partial(read, transfer.input, transfer.input_blob, version=known))
            position += len(piece.data)
            is_last = not piece.data or position >= piece.total
            for batch in _batches(_lines(cutter, piece.data, is_last)):
                applied = await self._apply(transfer, batch, piece.total, piece.version)
                if applied is None:
                    return None
                transfer = applied
            if is_last:
                return transfer

    async def _apply(self, transfer: Transfer, batch: Sequence[Line], total: int, version: str) -> Transfer | None:
        hub, job_id, later = transfer.hub, transfer.job_id, transfer.checkpoint.round > 0
        if later:
            wanted = self._store.read().transfers.waiting(hub, job_id, batch[0].number, batch[-1].number)
            due = [line for line in batch if line.number in wanted]
        else:
            due = [line for line in batch if line.text is None or line.text.strip(b"\xef\xbb\xbf \t\r")]
        parsed = await asyncio.to_thread(lambda: [self._parse(line) for line in due])
        now = self._clock.now()

        def work(tables: TransferTables) -> tuple[Transfer, list[Outcome]] | None:
            stored = tables.transfers.find(hub, job_id)
            if stored is None or stored.status != ACTIVE:
                return None
            outcomes: list[Outcome] = []
            refused: list[RefusedLine] = []
            for line, item in zip(due, parsed, strict=True):
                if isinstance(item, Refusal):
                    refused.append(RefusedLine(line.number, self._codec.report(line.number, None, item)))
                    continue
                outcome = apply_item(tables, hub, item, now, rebase=True)
                if outcome.refusal is not None:
                    report = self._codec.report(line.number, item.name, outcome.refusal)
                    refused.append(RefusedLine(line.number, report, _may_come(item, outcome.refusal)))
                    continue
                outcomes.append(outcome)
                if later:
                    tables.transfers.forget_refused(hub, job_id, line.number)
            tables.transfers.put_refused(hub, job_id, refused)
            checkpoint = replace(
                stored.checkpoint,
                position=batch[-1].end,
                count=batch[-1].number,
                applied=stored.checkpoint.applied + len(outcomes),
                version=version,
            )
            progress = max(stored.progress, min(99, batch[-1].end * 100 // max(total, 1)))
            changed = replace(stored, checkpoint=checkpoint, progress=progress)
            tables.transfers.put(changed)
            return changed, outcomes

        done = await self._patiently(lambda: self._store.write(work))
        if done is None:
            return None
        await asyncio.to_thread(audit_outcomes, done[1], f"import:{job_id}")
        return done[0]

    def _parse(self, line: Line) -> BulkItem | Refusal:
        if line.text is None:
            return TooLarge("transfer.line", f"the line has more than {MAX_LINE_BYTES} bytes")
        try:
            return self._codec.parse(line.text)
        except Refusal as refusal:
            return refusal

    async def _write_errors(self, transfer: Transfer) -> Transfer:
        """importErrors.log, empty when there is none: what an earlier import left there is not for this one."""
        last, blocks, size, refused = 0, 0, 0, 0
        gathered = bytearray()
        while True:
            page = await self._store.scan(partial(_refused_page, transfer, last))
            for line in page:
                gathered += line.report.encode() + b"\n"
                last = line.line
            refused += len(page)
            if gathered and (len(gathered) >= BLOCK_BYTES or not page):
                await self._put_block(transfer, ERRORS_BLOB, blocks, size, bytes(gathered))
                blocks, size = blocks + 1, size + len(gathered)
                gathered.clear()
            if not page:
                break
        await self._patiently(
            lambda: self._containers.commit(transfer.output, ERRORS_BLOB, blocks=blocks, size=size),
        )
        if not refused:
            return transfer
        told = f"{refused} of {transfer.checkpoint.count} lines were refused; {ERRORS_BLOB} says why"
        return replace(transfer, failure=told)

    # -- export --------------------------------------------------------------------------------------------------------

    async def _export(self, transfer: Transfer) -> Transfer | None:
        hub = transfer.hub
        total, _ = await self._store.scan(lambda tables: tables.identities.count_devices(hub))
        point = transfer.checkpoint
        after, devices = _name(point.after), point.count
        gathered = bytearray()
        while True:
            last = after
            page = partial(export_page, self._codec, hub, last, _PAGE, with_keys=transfer.with_keys)
            after, written, text = await self._store.scan(page)
            gathered += text
            devices += written
            if gathered and (len(gathered) >= BLOCK_BYTES or after is None):
                await self._put_block(transfer, transfer.output_blob, point.blocks, point.position, bytes(gathered))
                point = replace(
                    point,
                    position=point.position + len(gathered),
                    blocks=point.blocks + 1,
                    count=devices,
                    after=str(after or last or ""),
                )
                gathered.clear()
                stored = await self._checkpoint(transfer, point, min(99, devices * 100 // max(total, 1)))
                if stored is None:
                    return None
                transfer = stored
            if after is None:
                break
        end = point
        await self._patiently(
            lambda: self._containers.commit(
                transfer.output, transfer.output_blob, blocks=end.blocks, size=end.position
            ),
        )
        return transfer

    async def _checkpoint(self, transfer: Transfer, point: Checkpoint, progress: int) -> Transfer | None:
        def work(tables: TransferTables) -> Transfer | None:
            stored = tables.transfers.find(transfer.hub, transfer.job_id)
            if stored is None or stored.status != ACTIVE:
                return None
            changed = replace(stored, checkpoint=point, progress=max(stored.progress, progress))
            tables.transfers.put(changed)
            return changed

        return await self._patiently(lambda: self._store.write(work))

    # ------------------------------------------------------------------------------------------------------------------

    async def _put_block(self, transfer: Transfer, blob: str, number: int, offset: int, data: bytes) -> None:
        await self._patiently(
            lambda: self._containers.put_block(transfer.output, blob, number=number, offset=offset, data=data)
        )

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """`ask`, and again after what passes: a network that is gone for a moment, a disk that is full."""
        for pause_s in _PAUSES_S:
            try:
                return await ask()
            except Unavailable:
                await asyncio.sleep(pause_s)
        return await ask()


def export_page(
    codec: Codec, hub: HubId, after: IdentityName | None, limit: int, tables: TransferTables, *, with_keys: bool
) -> tuple[IdentityName | None, int, bytes]:
    """(the last identity, None at the end; how many devices; their lines), for those behind `after`."""
    names = tables.transfers.list_identities(hub, limit, after)
    lines = []
    devices = 0
    for name in names:
        identity = tables.identities.find(hub, name)
        if identity is not None:
            twin = tables.twins.find(hub, name)
            lines.append(codec.encode(identity, twin, with_keys=with_keys))
        devices += name.module_id is None
    return (names[-1] if names else None), devices, b"".join(lines)


def _refused_page(transfer: Transfer, after: int, tables: TransferTables) -> list[RefusedLine]:
    return tables.transfers.refused(transfer.hub, transfer.job_id, after, _ERRORS_PAGE)


def _complete(tables: TransferTables, transfer: Transfer, clock: Clock) -> None:
    stored = tables.transfers.find(transfer.hub, transfer.job_id)
    if stored is not None and stored.status == ACTIVE:
        tables.transfers.clear_refused(transfer.hub, transfer.job_id)
        ended = replace(stored, status="completed", progress=100, ended=clock.now(), failure=transfer.failure)
        tables.transfers.put(ended)


def _next_round(transfer: Transfer, tables: TransferTables) -> Transfer | None:
    """The transfer at the begin of another pass, None when that would lead nowhere."""
    stored = tables.transfers.find(transfer.hub, transfer.job_id)
    if stored is None or stored.status != ACTIVE:
        return None
    _, waiting = tables.transfers.count_refused(transfer.hub, transfer.job_id)
    point = stored.checkpoint
    if not waiting or not point.applied or point.round + 1 >= _MAX_ROUNDS:
        return None
    changed = replace(stored, checkpoint=Checkpoint(round=point.round + 1, version=point.version))
    tables.transfers.put(changed)
    return changed


def _may_come(item: BulkItem, refusal: Refusal) -> bool:
    """Whether what it lacks may stand in a later line."""
    if refusal.reason == "device.not_found":
        return item.name.module_id is not None
    return refusal.reason == "device_scope.unknown"


def _lines(cutter: LineCutter, data: bytes, is_last: bool) -> Iterator[Line]:
    yield from cutter.feed(data)
    if is_last:
        yield from cutter.finish()


def _batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    batch: list[Line] = []
    size = 0
    for line in lines:
        length = len(line.text or b"")
        if batch and (len(batch) >= _BATCH_LINES or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += length
    if batch:
        yield batch


def _name(client_id: str) -> IdentityName | None:
    device_id, slash, module_id = client_id.partition("/")
    return IdentityName(DeviceId(device_id), ModuleId(module_id) if slash else None) if device_id else None
