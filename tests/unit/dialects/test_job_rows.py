"""`devices.jobs` as a collection: every row once, whatever the pieces and whichever index answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import AllTables, SqliteStore
from moorage.dialects.job_rows import JobRows
from moorage.hub.job_model import JobId
from moorage.hub.jobs import JobDraft, decide_job
from moorage.hub.query_rows import Key
from moorage.hub.twins import TwinChange
from moorage.ids import DEFAULT_HUB, DeviceId, HubId
from moorage.query.parser import parse_query

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ALL = [(job, device) for job in ("j1", "j2", "j3") for device in ("a", "b", "c")]


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(":memory:", secrets_key=bytes(32), bus=LocalBus())

    def fill(tables: AllTables) -> None:
        for hub in (DEFAULT_HUB, HubId("other")):
            for each in ("j1", "j2", "j3"):
                job = decide_job(hub, JobDraft(JobId(each), TwinChange(tags={"a": 1}), "*"), NOW)
                tables.jobs.put(replace(job, status="running"))
                tables.job_devices.add(hub, job.job_id, map(DeviceId, "abc"), NOW)

    await opened.write(fill)
    yield opened
    opened.close()


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("condition", "expected", "is_indexed"),
    [
        ("", ALL, True),
        (" WHERE devices.jobs.jobId = 'j2'", [("j2", "a"), ("j2", "b"), ("j2", "c")], True),
        (" WHERE 'b' = devices.jobs.deviceId", [("j1", "b"), ("j2", "b"), ("j3", "b")], True),
        (" WHERE devices.jobs.deviceId = 'b' AND devices.jobs.jobId = 'j3'", [("j3", "b")], True),
        (" WHERE devices.jobs.deviceId = 'b' AND (status = 'x' OR jobId = 'j3')", [("j1", "b")], False),
        (" WHERE devices.jobs.deviceId = 'ghost'", [], True),
        (" WHERE devices.jobs.deviceId = 'a' OR devices.jobs.jobId = 'j1'", ALL, True),
        (" WHERE NOT devices.jobs.deviceId = 'a'", ALL, True),
        (" WHERE devices.jobs.deviceId != 'a'", ALL, True),
    ],
)
async def test_pieces_hold_every_candidate_once_and_in_order(
    store: SqliteStore, condition: str, expected: list[tuple[str, str]], is_indexed: bool, limit: int
) -> None:
    source, tables = JobRows(), store.read()
    where = parse_query(f"SELECT * FROM devices.jobs{condition}").where
    found: list[Key] = []
    after: Key | None = None
    while True:
        piece = source.piece(tables, DEFAULT_HUB, where, after, limit)
        assert len(piece.rows) <= limit
        assert all((row["jobId"], row["deviceId"]) == key for key, row in piece.rows)
        found += [key for key, _ in piece.rows]
        after = piece.resume
        if after is None:
            break
    if is_indexed:
        assert found == expected
    else:
        assert set(expected) <= set(found) and len(found) < len(ALL)
