"""The audit trail: what a log line becomes, what stays on disk, and what is done when the file is damaged."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moorage.accounts.audit import ACTING, AUDIT, AuditEntry, AuditFilter, AuditTrail, changes_of, entry_of
from moorage.adapters.audit_file import SqliteAudit
from moorage.clock import HandClock
from moorage.ids import DEFAULT_HUB

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
EVERYTHING = AuditFilter()
audit = logging.getLogger(AUDIT)


def entry(
    event: str = "device.created", entity: str = "pump-01", actor: str = "user:ada", minutes: int = 0
) -> AuditEntry:
    return AuditEntry(NOW + timedelta(minutes=minutes), DEFAULT_HUB, actor, event, entity, {"name": entity})


def found(store: SqliteAudit, wanted: AuditFilter = EVERYTHING) -> list[str]:
    return [each.entity for each in store.find(DEFAULT_HUB, wanted, "at", is_descending=False, limit=10, offset=0)]


@pytest.fixture
async def trail(tmp_path: Path) -> AsyncIterator[AuditTrail]:
    trail = AuditTrail(DEFAULT_HUB, SqliteAudit(tmp_path / "audit.db"), HandClock(NOW), timedelta(days=30))
    trail.attach()
    yield trail
    await trail.close_store()


def test_an_entry_names_what_it_is_about_and_what_changed() -> None:
    facts = {
        "hub": "hub",
        "login": "bob",
        "role_before": "Operator",
        "role": "Builder",
        "disabled": "no",
        "by": "owner",
    }
    made = entry_of("user.changed", facts, NOW, DEFAULT_HUB)
    assert (made.kind, made.action, made.entity, made.actor) == ("user", "changed", "bob", "owner")
    assert list(changes_of(made)) == [("role", "Operator", "Builder"), ("disabled", None, "no")]


def test_what_is_written_is_there_after_the_process_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    SqliteAudit(path).append([entry(), entry(entity="pump-02", minutes=1)])
    assert path.stat().st_mode & 0o077 == 0
    assert found(SqliteAudit(path)) == ["pump-01", "pump-02"]


def test_entries_are_found_by_time_who_kind_action_and_entity_and_a_percent_sign_is_one(tmp_path: Path) -> None:
    store = SqliteAudit(tmp_path / "audit.db")
    store.append(
        [
            entry(),
            entry("role.deleted", "Night%watch", "user:bob", 1),
            entry("device.deleted", "PUMP-02", "token:ci", 2),
        ]
    )
    assert found(store, AuditFilter(since=NOW + timedelta(minutes=1), until=NOW + timedelta(minutes=2))) == [
        "Night%watch"
    ]
    assert found(store, AuditFilter(actor="BOB")) == ["Night%watch"]
    assert found(store, AuditFilter(kind="device", action="delet")) == ["PUMP-02"]
    assert found(store, AuditFilter(entity="pump")) == ["pump-01", "PUMP-02"]
    assert found(store, AuditFilter(entity="t%w")) == ["Night%watch"]
    assert found(store, AuditFilter(entity="_")) == []
    assert store.kinds(DEFAULT_HUB) == ["device", "role"]


def test_the_oldest_go_when_there_are_too_many_and_what_is_past_its_time(tmp_path: Path) -> None:
    store = SqliteAudit(tmp_path / "audit.db", most=10)
    store.append([entry(entity=str(number), minutes=number) for number in range(11)])
    assert found(store) == [str(number) for number in range(2, 11)]
    store.forget(NOW + timedelta(minutes=9))
    assert found(store) == ["9", "10"]


def test_a_damaged_file_is_put_aside_and_a_new_one_begun(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "audit.db"
    path.write_bytes(b"this was a database once" * 100)
    store = SqliteAudit(path)
    store.append([entry()])
    assert found(store) == ["pump-01"]
    [aside] = tmp_path.glob("audit.db.damaged-*")
    assert aside.read_bytes().startswith(b"this was")
    assert "audit_damaged" in caplog.text


def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(OSError, match="later version"):
        SqliteAudit(path)


async def test_acts_are_heard_while_the_log_itself_is_quiet_and_written_by_themselves(trail: AuditTrail) -> None:
    logging.getLogger("moorage").setLevel(logging.ERROR)
    writing = asyncio.create_task(trail.run())
    try:
        audit.info("role.deleted role=%s", "x", extra={"event": "role.deleted", "facts": {"role": "x", "by": "owner"}})
        async with asyncio.timeout(30):
            while not await trail.kinds(DEFAULT_HUB):  # noqa: ASYNC110  # what is waited for tells nobody
                await asyncio.sleep(0.005)
    finally:
        logging.getLogger("moorage").setLevel(logging.NOTSET)
        writing.cancel()
    [made] = await trail.find(DEFAULT_HUB, EVERYTHING)
    assert (made.actor, made.event, made.entity) == ("owner", "role.deleted", "x")


async def test_more_than_can_wait_is_counted_and_the_count_is_an_entry(trail: AuditTrail) -> None:
    for number in range(20_003):
        audit.info("device.created", extra={"event": "device.created", "facts": {"name": number}})
    found = await trail.find(DEFAULT_HUB, EVERYTHING, limit=2)
    assert [(each.event, each.entity) for each in found] == [("audit.lost", "3"), ("device.created", "19999")]


async def test_who_goes_away_while_the_disk_is_busy_takes_no_entry_along(trail: AuditTrail, tmp_path: Path) -> None:
    # What the page waits for, as for a long one.
    disk = sqlite3.connect(tmp_path / "audit.db", isolation_level=None)
    disk.execute("BEGIN EXCLUSIVE")
    audit.info("device.created", extra={"event": "device.created", "facts": {"name": "pump-01"}})
    page = asyncio.create_task(trail.find(DEFAULT_HUB, EVERYTHING))
    await asyncio.sleep(0)
    audit.info("device.deleted", extra={"event": "device.deleted", "facts": {"name": "pump-02"}})
    writing = asyncio.create_task(trail.write())
    await asyncio.sleep(0)
    writing.cancel()
    disk.execute("ROLLBACK")
    disk.close()
    await page
    found = await trail.find(DEFAULT_HUB, EVERYTHING, is_descending=False)
    assert [each.entity for each in found] == ["pump-01", "pump-02"]


async def test_what_a_stranger_chose_is_cut_and_cannot_break_the_file(trail: AuditTrail) -> None:
    facts = {"login": "\ud800" + "x" * 5000, **{f"f{number}": "v" for number in range(100)}}
    audit.info("user.refused", extra={"event": "user.refused", "facts": facts})
    [made] = await trail.find(DEFAULT_HUB, EVERYTHING)
    assert len(made.entity) <= 510
    assert len(made.facts) <= 24


async def test_an_act_that_does_not_say_whose_it_is_belongs_to_whose_request_is_answered(trail: AuditTrail) -> None:
    async def answer() -> None:
        ACTING.set("user:ada")
        audit.info("device.created", extra={"event": "device.created", "facts": {"name": "one"}})
        audit.info("user.refused", extra={"event": "user.refused", "facts": {"login": "(unknown)", "by": ""}})

    await asyncio.create_task(answer())
    audit.info("device.created", extra={"event": "device.created", "facts": {"name": "two"}})
    found = await trail.find(DEFAULT_HUB, EVERYTHING, is_descending=False)
    assert [each.actor for each in found] == ["user:ada", "", ""]
