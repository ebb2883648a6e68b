"""Rules, exports, manifests, jobs of the application: what is put is found, whole, and secrets are sealed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from moorage.accounts.model import Login, OrganizationId
from moorage.accounts.organizations import Organization
from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import AllTables, SqliteStore
from moorage.automation.exports import (
    DataExport,
    Destination,
    DestinationId,
    DestinationUse,
    Enrichment,
    ExportEvent,
    ExportId,
    MessageFilter,
)
from moorage.automation.filters import PropertyFilter
from moorage.automation.jobs import (
    Amount,
    Counts,
    Job,
    JobData,
    JobDraft,
    JobId,
    JobRow,
    Schedule,
    ScheduledJob,
    ScheduleId,
    Threshold,
)
from moorage.automation.manifests import Manifest, ManifestId
from moorage.automation.rule_model import (
    Condition,
    EmailAction,
    Operand,
    Rule,
    RuleEvent,
    RuleId,
    Silence,
    WebhookAction,
)
from moorage.errors import Unavailable
from moorage.ids import DeviceId, Secret

from .samples import HUB, KEY, LATER, OTHER_HUB, THEN

NORTH, SOUTH = OrganizationId("north"), OrganizationId("south")
RULE = Rule(
    HUB,
    RuleId("hot"),
    "Too hot",
    "dtmi:example:Pump;1",
    THEN,
    LATER,
    (PropertyFilter("site", "equals", True, is_cloud=True),),
    "any",
    (Condition("a.b", "greater", Operand("property", "limit"), "average"), Condition("c", "exists")),
    15,
    None,
    (
        WebhookAction("w", "Hook", Secret("https://example.com/?code=first")),
        EmailAction("m", "Mail", (Login("ada@example.com"), Login("bob")), "note"),
        WebhookAction("v", "Hook 2", Secret("https://example.com/?code=second")),
    ),
    is_enabled=False,
    organization=NORTH,
    version=7,
)
DESTINATION = Destination(
    HUB, DestinationId("d"), "There", "kafka", Secret("kafka://b"), THEN, Secret("u:p"), {"topic": "t"}, NORTH, 3
)
EXPORT = DataExport(
    HUB,
    ExportId("e"),
    "Out",
    "properties",
    THEN,
    LATER,
    (DestinationUse(DestinationId("d"), {"a": ["$.b", 1, None]}), DestinationUse(DestinationId("c"))),
    "dtmi:example:Pump;1",
    (MessageFilter("messageProperty", "x", "contains", "y"),),
    (PropertyFilter("site", "less", 1.5),),
    "any",
    (Enrichment("k", "system", "$simulated"),),
    organization=NORTH,
)
DRAFT = JobDraft(
    "Job",
    "group",
    (JobData("property", "t", "c.p", {"x": [1, None]}), JobData("property", "t", "q")),
    "d",
    Amount("percentage", 5),
    Threshold(Amount("number", 3), is_per_batch=True),
    NORTH,
)
JOB = Job(
    HUB,
    JobId("j"),
    DRAFT,
    THEN,
    "user:ada",
    "running",
    THEN,
    None,
    "s",
    "r",
    "m",
    is_frozen=True,
    counts=Counts(4, 1, 2, 1),
)
SCHEDULED = ScheduledJob(
    HUB, ScheduleId("s"), DRAFT, Schedule(THEN, "monthly", LATER), THEN, "user:ada", LATER, 4, is_enabled=False
)
MANIFEST = Manifest(HUB, ManifestId("m"), "Plant", {"modulesContent": {"ä": {"x": 1.5}}}, THEN, LATER, NORTH, 2)


async def test_everything_comes_back_as_it_was_put(store: SqliteStore) -> None:
    quiet = replace(RULE, rule_id=RuleId("quiet"), conditions=(), window_minutes=None, silence=Silence("offline", 5))

    def work(tables: AllTables) -> None:
        for rule in (RULE, quiet, replace(RULE, hub=OTHER_HUB, display_name="Elsewhere")):
            tables.rules.put(rule)
        tables.exports.put(EXPORT)
        tables.exports.put_destination(DESTINATION)
        tables.device_jobs.put(JOB)
        tables.device_jobs.put_schedule(SCHEDULED)
        tables.manifests.put(MANIFEST)

    await store.write(work)
    tables = store.read()
    assert tables.rules.find(HUB, RULE.rule_id) == RULE
    assert tables.rules.all(HUB) == [RULE, quiet]
    assert tables.exports.find(HUB, EXPORT.export_id) == EXPORT
    assert tables.exports.destinations(HUB) == [DESTINATION]
    assert tables.device_jobs.find(HUB, JOB.job_id) == JOB
    assert tables.device_jobs.schedules(HUB) == [SCHEDULED]
    assert tables.manifests.all(HUB) == [MANIFEST]
    assert tables.manifests.names(HUB) == [("m", NORTH, "Plant")]
    secrets = [action.url.reveal() for action in RULE.actions if isinstance(action, WebhookAction)]
    found = tables.rules.find(HUB, RULE.rule_id)
    assert found is not None
    assert [action.url.reveal() for action in found.actions if isinstance(action, WebhookAction)] == secrets


async def test_secrets_are_in_no_column_and_open_in_their_own_row_alone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "registry.db", secrets_key=KEY, bus=LocalBus())

    def work(tables: AllTables) -> None:
        tables.rules.put(RULE)
        tables.rules.put(replace(RULE, rule_id=RuleId("other")))
        tables.exports.put_destination(DESTINATION)

    await store.write(work)
    store.close()
    data = _files(tmp_path)
    for secret in (b"code=first", b"code=second", b"kafka://b", b"u:p"):
        assert secret not in data
    with closing(sqlite3.connect(tmp_path / "registry.db")) as connection:
        connection.execute(
            "UPDATE rules SET sealed = (SELECT sealed FROM rules WHERE rule_id = 'other') WHERE rule_id = 'hot'"
        )
        connection.commit()
    store = SqliteStore(tmp_path / "registry.db", secrets_key=KEY, bus=LocalBus())
    with pytest.raises(Unavailable, match=r"store\.sealed"):
        store.read().rules.find(HUB, RuleId("hot"))
    store.close()


def _files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_what_belonged_to_an_organisation_belongs_to_another_once_that_goes(store: SqliteStore) -> None:
    def work(tables: AllTables) -> None:
        for name in (NORTH, SOUTH):
            tables.organizations.put(Organization(HUB, name, name))
        tables.rules.put(RULE)
        tables.exports.put(EXPORT)
        tables.exports.put_destination(DESTINATION)
        tables.device_jobs.put(JOB)
        tables.device_jobs.put_schedule(SCHEDULED)
        tables.manifests.put(MANIFEST)
        tables.organizations.move(HUB, NORTH, SOUTH)

    await store.write(work)
    tables = store.read()
    rule, export = tables.rules.find(HUB, RULE.rule_id), tables.exports.find(HUB, EXPORT.export_id)
    job, scheduled = tables.device_jobs.find(HUB, JOB.job_id), tables.device_jobs.find_schedule(HUB, ScheduleId("s"))
    assert rule is not None and export is not None and job is not None and scheduled is not None
    belongs = (rule.organization, export.organization, job.draft.organization, scheduled.draft.organization)
    assert belongs == (SOUTH,) * 4
    assert tables.manifests.names(HUB)[0][1] == SOUTH
    assert rule.actions == RULE.actions


async def test_of_a_rules_events_the_newest_stay_and_go_with_it(store: SqliteStore) -> None:
    def event(number: int) -> RuleEvent:
        return RuleEvent(RULE.rule_id, THEN + timedelta(seconds=number), "fired", "pump", f"event {number}", number)

    def work(tables: AllTables) -> None:
        tables.rules.put(RULE)
        for number in range(5):
            tables.rules.add_event(HUB, event(number), 3)
        tables.rules.put_silent(HUB, RULE.rule_id, "pump", THEN)

    await store.write(work)
    tables = store.read()
    assert tables.rules.events(HUB, RULE.rule_id, 10) == [event(4), event(3), event(2)]
    assert tables.rules.silent(HUB, RULE.rule_id) == {"pump": THEN}
    await store.write(lambda tables: tables.rules.delete(HUB, RULE.rule_id))
    assert tables.rules.events(HUB, RULE.rule_id, 10) == []
    assert tables.rules.silent(HUB, RULE.rule_id) == {}


async def test_export_events_are_numbered_once_and_bounded(store: SqliteStore) -> None:
    def event(number: int) -> ExportEvent:
        return ExportEvent("audit", THEN, "pump", {"number": number})

    def add(number: int, tables: AllTables) -> None:
        tables.exports.add_event(HUB, event(number), 3)

    for number in range(5):
        await store.write(partial(add, number))
    exports = store.read().exports
    assert [(place, found.facts["number"]) for place, found in exports.events(HUB, 0, 10)] == [(3, 2), (4, 3), (5, 4)]
    await store.write(lambda tables: tables.exports.forget_events(HUB, 5))
    assert exports.last_event(HUB) == 0
    await store.write(partial(add, 9))
    assert [place for place, _ in exports.events(HUB, 0, 10)] == [6]


async def test_rows_of_a_job_are_found_by_batch_and_outcome(store: SqliteStore) -> None:
    rows = [JobRow(DeviceId(f"d{number}"), number // 2, "pending", THEN) for number in range(5)]
    await store.write(lambda tables: tables.device_jobs.add_rows(HUB, JOB.job_id, rows))
    jobs = store.read().device_jobs
    assert jobs.open_rows(HUB, JOB.job_id, 10) == rows[:2]
    done = [replace(rows[0], outcome="completed"), replace(rows[1], outcome="failed", reason="r", message="m")]
    await store.write(lambda tables: tables.device_jobs.put_rows(HUB, JOB.job_id, done))
    assert jobs.open_rows(HUB, JOB.job_id, 10) == rows[2:4]
    assert jobs.rows(HUB, JOB.job_id, after="", limit=10, outcome="failed") == [done[1]]
    assert jobs.rows(HUB, JOB.job_id, after="d2", limit=1) == [rows[3]]
    assert (jobs.count_failed(HUB, JOB.job_id, 0), jobs.count_failed(HUB, JOB.job_id, 1)) == (1, 0)
    assert await store.write(lambda tables: tables.device_jobs.delete_rows(HUB, JOB.job_id, 3)) == 3
    assert len(jobs.rows(HUB, JOB.job_id, after="", limit=10)) == 2


async def test_jobs_are_listed_newest_first_in_pages(store: SqliteStore) -> None:
    made = [
        replace(JOB, job_id=JobId(f"j{number}"), created=THEN + timedelta(seconds=number // 2), scheduled_job_id="")
        for number in range(5)
    ]
    ended = replace(JOB, job_id=JobId("old"), status="completed", ended=THEN, created=THEN - timedelta(days=1))

    def work(tables: AllTables) -> None:
        for job in (*made, ended):
            tables.device_jobs.put(job)

    await store.write(work)
    jobs = store.read().device_jobs
    first = jobs.page(HUB, 3)
    assert [job.job_id for job in first] == ["j4", "j3", "j2"]
    rest = jobs.page(HUB, 9, before=(first[-1].created, first[-1].job_id))
    assert [job.job_id for job in rest] == ["j1", "j0", "old"]
    assert [job.job_id for job in jobs.page(HUB, 9, schedule="s")] == ["old"]
    assert [job.job_id for job in jobs.unfinished(HUB)] == ["j0", "j1", "j2", "j3", "j4"]
    assert jobs.ended_before(HUB, LATER, 9) == ["old"]
