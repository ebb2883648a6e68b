"""Bulk work on devices: *Device operations* (contract/central.md LST-5, LST-6, NAV-21).

    start ──► batches kept ──► waits for its turn ──► batches, one transaction each ──► done, with what failed
                                      └───────────────────────┴──► stopped, or failed: nobody may do it any more

A few run at once, the others wait; what a batch did stands, and each item in it is whole or not at all. How far it has
come is written in the transaction that does it, so after a restart or a crash it goes on with the first device that is
not done, and does none twice. It acts for whoever began it, with what they may at each batch. The panel shows those of
whoever asks.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

from moorage.accounts.model import Actor
from moorage.accounts.tables import acting_in
from moorage.clock import Clock
from moorage.errors import Exhausted, Forbidden, Invalid, NotFound, Refusal, Unavailable
from moorage.fleet.gateways import attach_in
from moorage.fleet.model import DeviceChange, DeviceDraft, DeviceFilter, FleetTables
from moorage.fleet.operation_model import (
    BulkAct,
    Item,
    ItemError,
    Operation,
    OperationId,
    OperationTables,
    check_right,
)
from moorage.fleet.service import Done, Fleet, seen_in, tell
from moorage.ids import DeviceId
from moorage.store import Store

__all__ = ["BATCH", "MAX_AT_ONCE", "MAX_ERRORS", "MAX_KEPT", "MAX_WAITING", "DeviceOperations", "these"]

log = logging.getLogger("moorage.fleet")
audit = logging.getLogger("moorage.audit")

BATCH: Final = 100
MAX_AT_ONCE: Final = 2
MAX_WAITING: Final = 20
# Ended ones that are still shown, of all people together.
MAX_KEPT: Final = 100
MAX_ERRORS: Final = 10_000
# Batches that are kept, or dropped, in one transaction.
_TOGETHER: Final = 20
_PAUSE_AFTER_FAILURE_S: Final = 5.0

R = TypeVar("R")


class _Over(Exception):
    """The operation was done, or stopped."""


class _Worked(NamedTuple):
    """What became of one batch."""

    actor: Actor
    outcomes: list[Done | None]


class DeviceOperations:
    """Runs bulk work of everybody, a few at a time. `resume` goes on with what an earlier run left."""

    def __init__(self, fleet: Fleet, store: Store[OperationTables], clock: Clock) -> None:
        self._hub = fleet.hub
        self._fleet = fleet
        self._store = store
        self._clock = clock
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._tasks: dict[OperationId, asyncio.Task[None]] = {}
        # Those among them that have no place yet.
        self._waiting: set[OperationId] = set()
        self._beginning = 0
        self._aside: set[asyncio.Task[None]] = set()

    # -- looking -------------------------------------------------------------------------------------------------------

    async def of(self, actor: Actor, limit: int = MAX_KEPT) -> list[Operation]:
        """Those that the actor began, the newest first."""
        return await self._store.scan(lambda tables: tables.operations.of(self._hub, actor.key, limit))

    def get(self, actor: Actor, operation_id: str) -> Operation:
        """Raises `NotFound` (`operations.unknown`)."""
        return self._own(self._store.read(), actor, operation_id)

    async def errors(self, actor: Actor, operation_id: str) -> list[ItemError]:
        """What failed: the first `MAX_ERRORS`. Raises `NotFound` (`operations.unknown`)."""
        found = self.get(actor, operation_id).operation_id
        return await self._store.scan(lambda tables: tables.operations.errors(self._hub, found))

    async def matching(self, actor: Actor, wanted: DeviceFilter) -> AsyncIterator[list[DeviceId]]:
        """All that fit, also as they change on the way: it goes on behind the last one."""
        after = ""
        while batch := await self._behind(actor, wanted, after):
            yield batch
            after = batch[-1]

    async def scan(self, work: Callable[[FleetTables], R]) -> R:
        """Run a heavy read in a thread."""
        return await self._store.scan(work)

    async def _behind(self, actor: Actor, wanted: DeviceFilter, after: str) -> list[DeviceId]:
        return await self._store.scan(lambda tables: self._fleet.ids_in(tables, actor, wanted, BATCH, after))

    def _own(self, tables: OperationTables, actor: Actor, operation_id: str) -> Operation:
        found = tables.operations.find(self._hub, OperationId(operation_id))
        if found is None or found.maker.key != actor.key:
            raise NotFound("operations.unknown", "there is no device operation of this id, or it is not shown any more")
        return found

    # -- beginning and ending ------------------------------------------------------------------------------------------

    async def start(self, actor: Actor, title: str, act: BulkAct, batches: AsyncIterator[Sequence[Item]]) -> Operation:
        """Keep what is to be done, then begin, or wait for a place.

        Raises `Exhausted` (`operations.too_many`), `Forbidden` (`operations.permission`), `Invalid`
        (`operations.none`), and what `batches` raises.
        """
        check_right(actor, act)
        if len(self._tasks) + self._beginning >= MAX_AT_ONCE + MAX_WAITING:
            raise Exhausted(
                "operations.too_many",
                f"{MAX_AT_ONCE} device operations run and {MAX_WAITING} wait already; try again when one has ended",
                retry_after_s=10,
            )
        operation_id = OperationId(secrets.token_hex(8))
        self._beginning += 1
        try:
            total = await self._keep(operation_id, batches)
            if not total:
                raise Invalid("operations.none", "there is no device to do this to")
            counted = "1 device" if total == 1 else f"{total:,} devices"
            operation = Operation(
                self._hub, operation_id, f"{title}: {counted}", act, actor.maker, self._clock.now(), total
            )
        except BaseException:
            self._do_aside(self._clear(operation_id))
            raise
        finally:
            self._beginning -= 1
        # Whoever asked may go away meanwhile: it is begun all the same, or not at all.
        await asyncio.shield(self._do_aside(self._put(operation)))
        return operation

    async def resume(self) -> None:
        """Go on with what is not over; forget what never began."""

        def left(tables: OperationTables) -> tuple[list[Operation], list[OperationId]]:
            return tables.operations.unfinished(self._hub), tables.operations.with_batches(self._hub)

        unfinished, with_batches = await self._store.scan(left)
        for operation in unfinished:
            log.info("operation_resumed operation=%s title=%r", operation.operation_id, operation.title)
            self._begin(operation.operation_id)
        for operation_id in set(with_batches) - self._tasks.keys():
            self._do_aside(self._clear(operation_id))

    async def stop(self, actor: Actor, operation_id: str) -> None:
        """After the batch that is on its way. Raises `NotFound` (`operations.unknown`)."""
        now = self._clock.now()

        def work(tables: OperationTables) -> OperationId:
            operation = self._own(tables, actor, operation_id)
            if not operation.is_over:
                tables.operations.put(replace(operation, state="stopped", ended=now))
            return operation.operation_id

        stopped = await self._store.write(work)
        if stopped in self._waiting:
            task = self._tasks[stopped]
            task.cancel()
            await asyncio.wait({task})
            await self._clear(stopped)

    async def wait(self, operation: Operation, seconds: float) -> Operation:
        """Until it is over, at most so long; how it is then."""
        task = self._tasks.get(operation.operation_id)
        if task is not None:
            await asyncio.wait({task}, timeout=seconds)
        return self._store.read().operations.find(self._hub, operation.operation_id) or operation

    async def close(self) -> None:
        """What is not done is left to the next run."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), *self._aside, return_exceptions=True)

    async def _keep(self, operation_id: OperationId, batches: AsyncIterator[Sequence[Item]]) -> int:
        """How many items there are."""
        total = number = 0
        kept: list[Sequence[Item]] = []

        def put(tables: OperationTables) -> None:
            tables.operations.put_batches(self._hub, operation_id, number, kept)

        async for batch in batches:
            kept.append(batch)
            total += len(batch)
            if len(kept) == _TOGETHER:
                await self._store.write(put)
                number, kept = number + len(kept), []
        if kept:
            await self._store.write(put)
        return total

    async def _put(self, operation: Operation) -> None:
        def work(tables: OperationTables) -> None:
            for old in tables.operations.beyond(self._hub, MAX_KEPT):
                tables.operations.delete(self._hub, old)
            tables.operations.put(operation)

        try:
            await self._store.write(work)
        except BaseException:
            self._do_aside(self._clear(operation.operation_id))
            raise
        self._begin(operation.operation_id)

    def _begin(self, operation_id: OperationId) -> None:
        self._waiting.add(operation_id)
        task = self._tasks[operation_id] = asyncio.create_task(
            self._run(operation_id), name=f"operation {operation_id}"
        )
        task.add_done_callback(lambda _: self._gone(operation_id))

    def _gone(self, operation_id: OperationId) -> None:
        self._waiting.discard(operation_id)
        del self._tasks[operation_id]

    def _do_aside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)
        return task

    async def _clear(self, operation_id: OperationId) -> None:
        """Drop what is left to do; what a full disk keeps from it, the next start drops."""

        def work(tables: OperationTables) -> int:
            return tables.operations.delete_batches(self._hub, operation_id, _TOGETHER)

        try:
            while await self._store.write(work) == _TOGETHER:
                continue
        except Unavailable as refusal:
            log.warning("operation_not_cleared operation=%s reason=%s", operation_id, refusal.reason)

    # -- running -------------------------------------------------------------------------------------------------------

    async def _run(self, operation_id: OperationId) -> None:
        async with self._places:
            self._waiting.discard(operation_id)
            is_over = False
            while not is_over:
                try:
                    is_over = await self._turn(operation_id)
                except Unavailable as refusal:
                    # The disk is full, say. It stays as it is, and its turn comes again.
                    log.warning(
                        "operation_waits operation=%s reason=%s message=%r",
                        operation_id,
                        refusal.reason,
                        refusal.message,
                    )
                    await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)
            await self._clear(operation_id)

    async def _turn(self, operation_id: OperationId) -> bool:
        """One batch; whether there is nothing more to do. Raises `Unavailable`, and then nothing was done."""
        try:
            worked = await self._store.write(lambda tables: self._work_off(tables, operation_id))
        except _Over:
            return True
        except Forbidden as refusal:
            await self._fail(operation_id, refusal.message, refusal.reason)
            return True
        except Unavailable:
            raise
        except Exception:
            log.exception("operation_failed operation=%s", operation_id)
            await self._fail(operation_id, "this is a fault of moorage; its log has the details", "")
            return True
        await asyncio.to_thread(_tell_all, worked)
        return False

    def _work_off(self, tables: OperationTables, operation_id: OperationId) -> _Worked:
        """One batch and how far the operation has come with it: all of that, or nothing.

        Raises `_Over`, `Forbidden` (`maker.*`, `operations.permission`) when whoever began it may not go on.
        """
        now = self._clock.now()
        operation = tables.operations.find(self._hub, operation_id)
        if operation is None or operation.is_over:
            raise _Over
        actor = acting_in(tables, self._hub, operation.maker, now)
        check_right(actor, operation.act)
        found = tables.operations.first_batch(self._hub, operation_id)
        if found is None:
            tables.operations.put(replace(operation, state="done", ended=now))
            return _Worked(actor, [])
        number, items = found
        outcomes: list[Done | None] = []
        errors: list[ItemError] = []
        for item in items:
            try:
                with tables.savepoint():
                    outcomes.append(self._do(tables, actor, operation.act, item, now))
            except Refusal as refusal:
                errors.append(ItemError(item.label, refusal.reason, refusal.message))
        room = max(0, MAX_ERRORS - operation.failed)
        tables.operations.add_errors(self._hub, operation_id, operation.failed, errors[:room])
        tables.operations.delete_batch(self._hub, operation_id, number)
        tables.operations.put(
            replace(
                operation,
                state="running",
                done=operation.done + len(outcomes),
                failed=operation.failed + len(errors),
            )
        )
        return _Worked(actor, outcomes)

    def _do(self, tables: FleetTables, actor: Actor, act: BulkAct, item: Item, now: datetime) -> Done | None:
        """The same act that people do to one device. Raises as that does."""
        fleet, device_id = self._fleet, DeviceId(item.device_id)
        match act.kind:
            case "approve":
                return fleet.approve_in(tables, actor, device_id, now)
            case "block":
                return fleet.block_in(tables, actor, device_id, now)
            case "unblock":
                return fleet.unblock_in(tables, actor, device_id, now)
            case "migrate":
                return fleet.change_in(tables, actor, device_id, DeviceChange(template=act.template), now)
            case "move":
                return fleet.change_in(tables, actor, device_id, DeviceChange(organization=act.organization), now)
            case "attach" | "detach":
                attach_in(tables, self._hub, actor, device_id, act.gateway, now)
                record = seen_in(tables, self._hub, actor, device_id)
                return Done("device.attached", record, {"gateway": act.gateway or "(none)"})
            case "delete":
                return fleet.delete_in(tables, actor, device_id, now)[1]
            case "import":
                if item.reason:
                    raise Invalid(item.reason, item.message)
                draft = DeviceDraft(device_id, item.display_name, act.template, act.organization)
                return fleet.create_in(tables, actor, draft, now)

    async def _fail(self, operation_id: OperationId, message: str, reason: str) -> None:
        now = self._clock.now()

        def work(tables: OperationTables) -> Operation | None:
            operation = tables.operations.find(self._hub, operation_id)
            if operation is None or operation.is_over:
                return None
            failed = replace(operation, state="failed", ended=now, message=message)
            tables.operations.put(failed)
            return failed

        failed = await self._store.write(work)
        if failed is not None and reason:
            facts = {
                "hub": self._hub,
                "operation": operation_id,
                "title": failed.title,
                "reason": reason,
                "by": failed.maker.name,
            }
            audit.info(
                "operation.halted hub=%s operation=%s title=%r reason=%s by=%s",
                *facts.values(),
                extra={"event": "operation.halted", "facts": facts},
            )


async def these(items: Iterable[Item]) -> AsyncIterator[Sequence[Item]]:
    """In batches."""
    every = list(items)
    for at in range(0, len(every), BATCH):
        yield every[at : at + BATCH]


def _tell_all(worked: _Worked) -> None:
    """In a thread: a hundred lines take longer than the event loop has."""
    for outcome in worked.outcomes:
        tell(worked.actor, outcome)
