"""Any sequence of appends, restarts, retention and reads against a list."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from moorage.adapters.log.segment_log import SegmentLog
from moorage.adapters.log.stream import LogSettings
from moorage.errors import Unavailable
from moorage.hub.telemetry_log import Page, SourceHeader, StoredMessage

PARTITIONS = 3
DEVICES = ("pump-01", "pump-02")
SETTINGS = LogSettings(partitions=PARTITIONS, segment_bytes=1_500, retention_ms=1_000, retention_bytes=None)


@dataclass(frozen=True)
class Written:
    partition: int
    sequence: int
    enqueued_ms: int
    device_id: str
    bag: bytes
    body: bytes


class Waiter:
    """Lets the machine wait for a batch."""

    def __init__(self) -> None:
        self.durable = asyncio.Event()

    def log_durable(self, batch: int) -> None:
        self.durable.set()

    def log_failed(self, refusal: Unavailable) -> None:
        raise refusal

    def log_high_water(self) -> None: ...

    def log_low_water(self) -> None: ...


class LogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.model: list[Written] = []
        self.now_ms = 10_000

    def teardown(self) -> None:
        self.loop.run_until_complete(self.log.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self) -> None:
        self.log, self.waiter = SegmentLog.open(self.folder / "log", SETTINGS), Waiter()
        self.loop.run_until_complete(self.started())

    async def started(self) -> None:
        self.log.start(self.waiter)

    @rule(
        batch=st.lists(
            st.tuples(
                st.integers(0, PARTITIONS - 1),
                st.sampled_from(DEVICES),
                st.binary(max_size=30),
                st.binary(max_size=200),
                st.integers(-500, 500),
            ),
            min_size=1,
            max_size=8,
        ),
        turn=st.integers(-300, 900),
    )
    def append(self, batch: list[tuple[int, str, bytes, bytes, int]], turn: int) -> None:
        """A batch; the wall clock moves by `turn`, and not always forward."""
        self.now_ms += turn

        async def send() -> None:
            self.waiter.durable.clear()
            for partition, device, bag, body, jitter in batch:
                source = SourceHeader("hub", "Telemetry", device, None, "1", "{}", None).encode()
                before = [written for written in self.model if written.partition == partition]
                enqueued_ms = max(self.now_ms + jitter, before[-1].enqueued_ms if before else 0)
                self.log.append(source, partition, bag, body, self.now_ms + jitter)
                sequence = before[-1].sequence + 1 if before else 0
                self.model.append(Written(partition, sequence, enqueued_ms, device, bag, body))
            await self.waiter.durable.wait()

        self.loop.run_until_complete(send())

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.log.close())
        self.begin()

    @rule(ahead=st.integers(-2_000, 4_000))
    def retain(self, ahead: int) -> None:
        now_ms = self.now_ms + ahead
        now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=now_ms)
        self.loop.run_until_complete(self.log.enforce_retention(now))
        kept = self.stored(None)
        removed = len(self.model) - len(kept)
        gone = self.model[self.removed : removed]
        assert all(record.enqueued_ms < now_ms - 1_000 for record in gone), "only what is old enough"
        self.removed = removed

    removed = 0

    @rule(partition=st.integers(0, PARTITIONS - 1), sequence=st.integers(0, 40))
    def read_by_sequence(self, partition: int, sequence: int) -> None:
        expected = [w for w in self.kept() if w.partition == partition and w.sequence >= sequence]
        assert written(self.read(partition, from_sequence=sequence).messages) == expected

    @rule(partition=st.none() | st.integers(0, PARTITIONS - 1), back=st.integers(-100, 3_000))
    def read_by_time(self, partition: int | None, back: int) -> None:
        time = self.now_ms - back
        expected = [w for w in self.kept() if partition in (None, w.partition) and w.enqueued_ms >= time]
        assert written(self.read(partition, from_time=time).messages) == expected

    @rule(data=st.data(), device=st.none() | st.sampled_from(DEVICES))
    def read_by_offset(self, data: st.DataObject, device: str | None) -> None:
        messages = self.stored(None)
        if not messages:
            return
        index = data.draw(st.integers(0, len(messages) - 1))
        nudge = data.draw(st.sampled_from([-1, 0, 1]))
        expected = [m for m in messages[index + (nudge == 1) :] if device in (None, m.source.device_id)]
        assert self.read(None, from_offset=messages[index].offset + nudge, device_id=device).messages == expected

    @invariant()
    def holds_exactly_what_was_written(self) -> None:
        if hasattr(self, "log"):
            assert written(self.stored(None)) == self.kept()

    def kept(self) -> list[Written]:
        return self.model[self.removed :]

    def read(self, partition: int | None, **bounds: object) -> Page:
        return self.loop.run_until_complete(
            self.log.read(partition, limit=10_000, **bounds)  # type: ignore[arg-type]  # by name, from the rules above
        )

    def stored(self, partition: int | None) -> list[StoredMessage]:
        messages: list[StoredMessage] = []
        offset = 0
        while True:
            page = self.loop.run_until_complete(self.log.read(partition, from_offset=offset, limit=7))
            messages += page.messages
            offset = page.next_offset
            if page.at_end:
                return messages


def written(messages: list[StoredMessage]) -> list[Written]:
    return [Written(m.partition, m.sequence, m.enqueued_ms, m.source.device_id, m.bag, m.body) for m in messages]


LogMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestLogMachine = LogMachine.TestCase
