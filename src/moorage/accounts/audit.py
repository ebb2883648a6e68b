"""The audit trail: every act of somebody, as one entry that stays (contract/central.md AUD-1 to AUD-5).

    a service does something ──► logger "moorage.audit" ──► AuditTrail (a handler) ──► its own file, in a thread

Services tell of an act by a log line with `extra={"event": ..., "facts": {..., "by": ...}}` and know of nobody who
listens. An entry is taken without waiting and is on disk some milliseconds later; what waits is bounded, and entries
that had no room are counted and told. Facts called `x_before` are what `x` was before.

Signing in and out is recorded too, which the product does not (AUD-3).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Final, Literal, NamedTuple, Protocol

from moorage.clock import Clock
from moorage.errors import Unavailable
from moorage.ids import HubId

__all__ = [
    "ACTING",
    "AUDIT",
    "MAX_EXPORTED",
    "AuditEntry",
    "AuditFilter",
    "AuditStore",
    "AuditTrail",
    "Order",
    "changes_of",
    "entry_of",
]

log = logging.getLogger(__name__)

AUDIT: Final = "moorage.audit"
# Whose request is being answered; of an act that does not say whose it is.
ACTING: Final[ContextVar[str]] = ContextVar("acting", default="")
MAX_EXPORTED: Final = 200_000
_MAX_WAITING: Final = 20_000
_MAX_FACTS: Final = 24
_MAX_VALUE: Final = 500
# An import makes thousands of entries; they go to disk together.
_PAUSE_S: Final = 0.02
# What an entry is about, where no fact is called like its kind.
_NAMES: Final = (
    "device",
    "identity",
    "login",
    "name",
    "group",
    "enrollment",
    "job",
    "file",
    "id",
    "scope",
    "on",
    "user",
)

Order = Literal["at", "actor", "event", "entity"]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act. `event` is `kind.verb`; `facts` has what was told beside it, in order."""

    at: datetime
    hub: HubId
    actor: str
    event: str
    entity: str
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """`api_token`: what sort of thing was acted on."""
        return self.event.partition(".")[0]

    @property
    def action(self) -> str:
        return self.event.partition(".")[2] or self.event


class AuditFilter(NamedTuple):
    """Which entries: between two moments, and with words in them whose case does not matter. '' and None are all."""

    since: datetime | None = None
    until: datetime | None = None
    actor: str = ""
    kind: str = ""
    action: str = ""
    entity: str = ""


class AuditStore(Protocol):
    """Where entries are kept; one call at a time, in any thread. Raises `OSError` when the file cannot be used."""

    def append(self, entries: Sequence[AuditEntry]) -> None:
        """On disk when it returns."""

    def find(
        self, hub: HubId, wanted: AuditFilter, order: Order, *, is_descending: bool, limit: int, offset: int
    ) -> list[AuditEntry]: ...

    def kinds(self, hub: HubId) -> list[str]:
        """What was acted on since the oldest entry, or since the start."""

    def forget(self, before: datetime) -> None: ...

    def close(self) -> None: ...


def entry_of(event: str, facts: Mapping[str, Any], at: datetime, hub: HubId) -> AuditEntry:
    """What a service told of an act as an entry, cut to size; `hub` is whose it is when the facts do not say."""
    told = {str(name): _text(value) for name, value in list(facts.items())[:_MAX_FACTS]}
    kind = event.partition(".")[0]
    names = (kind, kind.removeprefix("api_"), *_NAMES)
    others = (value for name, value in told.items() if name not in ("hub", "by"))
    entity = next((told[name] for name in names if told.get(name)), None) or next(others, "")
    rest = {name: value for name, value in told.items() if name not in ("hub", "by")}
    return AuditEntry(at, HubId(told.get("hub") or hub), told.get("by", ""), event[:100], entity, rest)


class AuditTrail(logging.Handler):
    """Keeps what services tell of acts. `attach` it, `run` it as a task, `close_store` at the end.

    Loggers belong to the process, so two hubs in one process hear each other; a process serves one.
    """

    def __init__(self, hub: HubId, store: AuditStore, clock: Clock, keep: timedelta) -> None:
        super().__init__(logging.INFO)
        self._hub = hub
        self._store = store
        self._clock = clock
        self._keep = keep
        self._waiting: list[AuditEntry] = []
        self._lost = 0
        self._guard = Lock()
        self._came = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        # One thread, so one call at a time, whoever gives up waiting for it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")

    def attach(self) -> None:
        """Hear of acts from now on, whatever the log itself is told to leave out."""
        audit = logging.getLogger(AUDIT)
        audit.setLevel(logging.INFO)
        audit.addHandler(self)
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        event, facts = getattr(record, "event", None), getattr(record, "facts", None)
        if not isinstance(event, str) or not isinstance(facts, Mapping):
            event, facts = "log.line", {"message": record.getMessage()}
        if "by" not in facts and (acting := ACTING.get()):
            facts = {**facts, "by": acting}
        entry = entry_of(event, facts, self._clock.now(), self._hub)
        with self._guard:
            if len(self._waiting) >= _MAX_WAITING:
                self._lost += 1
                return
            self._waiting.append(entry)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._came.set)

    async def run(self) -> None:
        """Write what comes, until cancelled."""
        while True:
            await self._came.wait()
            self._came.clear()
            await self.write()
            await asyncio.sleep(_PAUSE_S)

    async def write(self) -> None:
        """Put what waits on disk. A write that fails is logged, and tried again with the next.

        Whoever is cancelled while it waits for the disk takes nothing along.
        """
        with self._guard:
            entries, self._waiting = self._waiting, []
            lost, self._lost = self._lost, 0
        if lost:
            log.error("audit_lost count=%d", lost)
            entries.append(entry_of("audit.lost", {"count": lost}, self._clock.now(), self._hub))
        if entries:
            writing = asyncio.get_running_loop().run_in_executor(self._thread, self._append, entries)
            await asyncio.shield(writing)

    def _append(self, entries: list[AuditEntry]) -> None:
        try:
            self._store.append(entries)
        except OSError as error:
            log.error("audit_not_written count=%d error=%s", len(entries), error)
            with self._guard:
                waiting = entries + self._waiting
                self._waiting = waiting[:_MAX_WAITING]
                self._lost += len(waiting) - len(self._waiting)

    async def find(
        self,
        hub: HubId,
        wanted: AuditFilter,
        order: Order = "at",
        *,
        is_descending: bool = True,
        limit: int = 100,
        offset: int = 0,
    ) -> list[AuditEntry]:
        """Entries in that order, those of this very moment included. Raises `Unavailable` (`audit.unreadable`)."""
        await self.write()
        found: list[AuditEntry] = []

        def work() -> None:
            found.extend(self._store.find(hub, wanted, order, is_descending=is_descending, limit=limit, offset=offset))

        await self._read(work)
        return found

    async def kinds(self, hub: HubId) -> list[str]:
        """What was ever acted on. Raises `Unavailable` (`audit.unreadable`)."""
        found: list[str] = []
        await self._read(lambda: found.extend(self._store.kinds(hub)))
        return found

    async def sweep(self) -> None:
        """Forget what is older than is kept."""
        before = self._clock.now() - self._keep
        await self._in_thread(self._store.forget, before)

    async def close_store(self) -> None:
        """Hear of nothing more, and put on disk what was heard."""
        logging.getLogger(AUDIT).removeHandler(self)
        await self.write()
        await self._in_thread(self._store.close)
        self._thread.shutdown()
        self.close()

    async def _read(self, work: Callable[[], None]) -> None:
        try:
            await self._in_thread(work)
        except OSError as error:
            raise Unavailable("audit.unreadable", f"the audit log cannot be read: {error}") from error

    async def _in_thread(self, work: Callable[..., None], *arguments: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def changes_of(entry: AuditEntry) -> Iterator[tuple[str, str | None, str]]:
    """(what, before, after) of each fact beside the entity; `before` is None where nothing is told of it."""
    for name, value in entry.facts.items():
        if name.endswith("_before") or (value == entry.entity and f"{name}_before" not in entry.facts):
            continue
        before = entry.facts.get(f"{name}_before")
        if before != value:
            yield name.replace("_", " "), before, value


def _text(value: object) -> str:
    match value:
        case list() | tuple():
            text = ", ".join(map(str, value))
        case set() | frozenset():
            text = ", ".join(sorted(map(str, value)))
        case _:
            text = str(value)
    text = text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1] + "\u2026"
    return text.encode("utf-8", "backslashreplace").decode()
