"""Import and export jobs: one at a time, told about while they run and after (contract/services.md 2.11, jobs v1).

A transfer is stored before its creation is answered. `resume` takes up what an earlier run of the hub left unfinished;
`aclose` leaves what is unfinished for the next one.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import uuid4

from moorage.clock import Clock
from moorage.errors import Conflict, NotFound, Refusal, Unavailable
from moorage.hub.transfer_model import ACTIVE, Containers, Transfer, TransferKind, TransferTables
from moorage.hub.transfer_runs import ERRORS_BLOB, Codec, TransferRun
from moorage.ids import HubId, Secret
from moorage.store import Store

__all__ = ["DEFAULT_BLOB", "HISTORY", "MAX_HISTORY", "TransferDraft", "TransferService"]

log = logging.getLogger(__name__)
audit = logging.getLogger("moorage.audit")

DEFAULT_BLOB: Final = "devices.txt"
# contract/services.md J-9
HISTORY: Final = timedelta(days=30)
MAX_HISTORY: Final = 100


@dataclass(frozen=True, slots=True)
class TransferDraft:
    """What somebody wants to be moved. An import has an `input`; both have an `output`."""

    kind: TransferKind
    output: Secret
    output_blob: str = DEFAULT_BLOB
    input: Secret = Secret("")
    input_blob: str = DEFAULT_BLOB
    with_keys: bool = True


class TransferService:
    """The transfers of one hub."""

    def __init__(
        self, hub: HubId, store: Store[TransferTables], containers: Containers, codec: Codec, clock: Clock
    ) -> None:
        self._hub = hub
        self._store = store
        self._containers = containers
        self._clock = clock
        self._run = TransferRun(store, containers, codec, clock)
        self._running: dict[str, asyncio.Task[None]] = {}

    async def create(self, draft: TransferDraft, *, by: object = None) -> Transfer:
        """Store and start it.

        Raises:
            Invalid: `container.*`: a container or a blob's name that cannot be used.
            Conflict: `transfer.busy`: another one runs.
        """
        self._containers.check(draft.output, ERRORS_BLOB if draft.kind == "import" else draft.output_blob)
        if draft.kind == "import":
            self._containers.check(draft.input, draft.input_blob)
        now = self._clock.now()
        transfer = Transfer(
            hub=self._hub,
            job_id=str(uuid4()),
            kind=draft.kind,
            status=ACTIVE,
            created=now,
            output=draft.output,
            output_blob=draft.output_blob if draft.kind == "export" else "",
            input=draft.input if draft.kind == "import" else Secret(""),
            input_blob=draft.input_blob if draft.kind == "import" else "",
            with_keys=draft.with_keys,
        )

        def work(tables: TransferTables) -> None:
            present = tables.transfers.all(self._hub)
            for other in present:
                if other.status == ACTIVE:
                    raise Conflict(
                        "transfer.busy",
                        f"the {other.kind} {other.job_id} runs and is at {other.progress} percent; one runs at a time",
                    )
            for number, old in enumerate(present, 1):
                if number >= MAX_HISTORY or (old.ended or old.created) < now - HISTORY:
                    tables.transfers.delete(self._hub, old.job_id)
            tables.transfers.put(transfer)

        await self._store.write(work)
        _audit("created", transfer, by)
        self._start(transfer)
        return transfer

    def get(self, job_id: str) -> Transfer:
        """Raises `NotFound` (`job.unknown`)."""
        transfer = self._store.read().transfers.find(self._hub, job_id)
        if transfer is None:
            raise _not_found(job_id)
        return transfer

    async def all(self) -> list[Transfer]:
        """The newest first."""
        return await self._store.scan(lambda tables: tables.transfers.all(self._hub))

    async def cancel(self, job_id: str, *, by: object = None) -> Transfer:
        """Stop it where it is; what was done stays. One that has ended stays as it is. Raises as `get`."""

        def work(tables: TransferTables) -> tuple[Transfer, bool]:
            stored = tables.transfers.find(self._hub, job_id)
            if stored is None:
                raise _not_found(job_id)
            if stored.status != ACTIVE:
                return stored, False
            cancelled = replace(stored, status="cancelled", ended=self._clock.now())
            tables.transfers.clear_refused(self._hub, job_id)
            tables.transfers.put(cancelled)
            return cancelled, True

        transfer, was_running = await self._store.write(work)
        if was_running:
            _audit("cancelled", transfer, by)
            if (task := self._running.get(job_id)) is not None:
                task.cancel()
        return transfer

    async def resume(self) -> None:
        """Go on with what an earlier run of the hub did not finish."""
        for transfer in await self.all():
            if transfer.status == ACTIVE:
                log.info(
                    "transfer_resumed kind=%s job=%s progress=%d", transfer.kind, transfer.job_id, transfer.progress
                )
                self._start(transfer)

    async def aclose(self) -> None:
        """Stop where things are; the checkpoint tells where that was."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, transfer: Transfer) -> None:
        task = asyncio.get_running_loop().create_task(self._carry_out(transfer))
        self._running[transfer.job_id] = task
        task.add_done_callback(lambda _: self._running.pop(transfer.job_id, None))

    async def _carry_out(self, transfer: Transfer) -> None:
        try:
            await self._run.run(transfer)
        except Refusal as refusal:
            await self._fail(transfer, f"{refusal.reason}: {refusal.message}")
        except Exception:
            log.exception("transfer_failed job=%s", transfer.job_id)
            await self._fail(transfer, "a fault of moorage; its log has the details")

    async def _fail(self, transfer: Transfer, why: str) -> None:
        def work(tables: TransferTables) -> None:
            stored = tables.transfers.find(self._hub, transfer.job_id)
            if stored is not None and stored.status == ACTIVE:
                tables.transfers.clear_refused(self._hub, transfer.job_id)
                tables.transfers.put(replace(stored, status="failed", ended=self._clock.now(), failure=why))

        log.warning("transfer_failed kind=%s job=%s why=%r", transfer.kind, transfer.job_id, why)
        try:
            await self._store.write(work)
        except Unavailable as refusal:
            # It stays as running, and the next start of the hub takes it up where it is.
            log.warning("transfer_unwritten job=%s reason=%s", transfer.job_id, refusal.reason)


def _not_found(job_id: str) -> NotFound:
    return NotFound("job.unknown", f"there is no import or export job {job_id[:64]!r}")


def _audit(done: str, transfer: Transfer, by: object) -> None:
    event = f"transfer.{done}"
    facts = {"hub": transfer.hub, "kind": transfer.kind, "job": transfer.job_id, "by": str(by)}
    audit.info("%s hub=%s kind=%s job=%s by=%s", event, *facts.values(), extra={"event": event, "facts": facts})
