"""What may follow what in a job, how devices fall into batches, and when schedules are due (contract/central.md 14)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args

import pytest

from moorage.automation.jobs import (
    JOB_STATUSES,
    TRANSITIONS,
    Amount,
    Job,
    JobData,
    JobDraft,
    JobEvent,
    JobId,
    Schedule,
    Threshold,
    batch_sizes,
    check_draft,
    check_schedule,
    in_batches,
    is_beyond,
    move,
    next_due,
    occurrence,
    parse_job_id,
)
from moorage.errors import Conflict, Refusal
from moorage.ids import DEFAULT_HUB, DeviceId

NOW = datetime(2030, 1, 31, 8, tzinfo=UTC)
DRAFT = JobDraft("Limits", "pumps", (JobData("property", "dtmi:example:Pump;1", "limit", 25),))
JOB = Job(DEFAULT_HUB, JobId("job-1"), DRAFT, NOW, "user:ada")


def test_every_step_that_the_table_does_not_have_is_refused() -> None:
    events: tuple[JobEvent, ...] = get_args(JobEvent)
    for status, event in product(JOB_STATUSES, events):
        job = replace(JOB, status=status)
        if (status, event) in TRANSITIONS:
            assert move(job, event, NOW).status == TRANSITIONS[status, event]
        else:
            with pytest.raises(Conflict, match=r"job\.status"):
                move(job, event, NOW)


def test_a_job_that_is_resumed_keeps_when_it_began_and_has_no_end() -> None:
    stopped = move(move(JOB, "run", NOW), "stop", NOW + timedelta(minutes=1))
    assert (stopped.started, stopped.ended) == (NOW, NOW + timedelta(minutes=1))
    again = move(move(stopped, "resume", NOW), "run", NOW + timedelta(minutes=5))
    assert (again.status, again.started, again.ended) == ("running", NOW, None)


@pytest.mark.parametrize(
    ("devices", "batch", "sizes"),
    [
        (0, None, []),
        (7, None, [7]),
        (7, Amount("number", 3), [3, 3, 1]),
        (7, Amount("number", 100), [7]),
        (10, Amount("percentage", 50), [5, 5]),
        (3, Amount("percentage", 10), [1, 1, 1]),
    ],
)
def test_devices_fall_into_batches(devices: int, batch: Amount | None, sizes: list[int]) -> None:
    assert batch_sizes(devices, batch) == sizes
    names = [DeviceId(f"d{number}") for number in range(devices)]
    rows = in_batches(names, batch, NOW)
    assert [row.device_id for row in rows] == names
    assert [sum(row.batch == number for row in rows) for number in range(len(sizes))] == sizes


@pytest.mark.parametrize(
    ("threshold", "failed", "in_batch", "beyond"),
    [
        (Threshold(Amount("number", 2)), 2, 2, False),
        (Threshold(Amount("number", 2)), 3, 0, True),
        (Threshold(Amount("percentage", 10)), 10, 0, False),
        (Threshold(Amount("percentage", 10)), 11, 0, True),
        (Threshold(Amount("number", 2), is_per_batch=True), 50, 2, False),
        (Threshold(Amount("percentage", 50), is_per_batch=True), 11, 11, True),
        (Threshold(Amount("percentage", 50), is_per_batch=True), 10, 10, False),
    ],
)
def test_more_failures_than_the_threshold_cancel(
    threshold: Threshold, failed: int, in_batch: int, *, beyond: bool
) -> None:
    assert is_beyond(threshold, devices=100, failed=failed, batch=20, failed_in_batch=in_batch) is beyond


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"display_name": ""}, "job.name"),
        ({"group": ""}, "job.group"),
        ({"data": ()}, "job.data"),
        ({"data": DRAFT.data * 51}, "job.data_size"),
        ({"data": (*DRAFT.data, JobData("cloudProperty", "t", "a"))}, "job.data"),
        ({"data": (JobData("command", "t", "a"), JobData("command", "t", "b"))}, "job.data"),
        ({"data": (JobData("property", "", "a"),)}, "job.data"),
        ({"data": (JobData("property", "t"),)}, "job.data"),
        ({"batch": Amount("number", 0)}, "job.batch"),
        ({"batch": Amount("percentage", 101)}, "job.batch"),
        ({"threshold": Threshold(Amount("number", 0))}, "job.threshold"),
        ({"threshold": Threshold(Amount("number", 1), is_per_batch=True)}, "job.threshold"),
    ],
)
def test_a_job_that_cannot_be_is_refused_by_name(changes: dict[str, Any], reason: str) -> None:
    check_draft(DRAFT)
    with pytest.raises(Refusal) as caught:
        check_draft(replace(DRAFT, **changes))
    assert caught.value.reason == reason


def test_ids_are_those_of_the_api() -> None:
    assert parse_job_id("Job_1-a") == "Job_1-a"
    for wrong in ("", "a b", "a/b", "x" * 256, "ä"):
        with pytest.raises(Refusal, match=r"job\.plain_id"):
            parse_job_id(wrong)


def test_a_month_that_is_too_short_has_its_last_day() -> None:
    monthly = Schedule(NOW, "monthly")
    assert [occurrence(monthly, number).day for number in range(4)] == [31, 28, 31, 30]  # type: ignore[union-attr] # no end
    assert occurrence(monthly, 12) == NOW.replace(year=2031)


def test_schedules_end_by_a_date_after_runs_or_after_the_one_run_that_they_are() -> None:
    daily = Schedule(NOW, "daily", end_by=NOW + timedelta(days=2))
    assert [occurrence(daily, number) is not None for number in range(4)] == [True, True, True, False]
    weekly = Schedule(NOW, "weekly", end_after=2)
    assert occurrence(weekly, 1) == NOW + timedelta(days=7)
    assert occurrence(weekly, 2) is None
    assert occurrence(Schedule(NOW), 0) == NOW
    assert occurrence(Schedule(NOW), 1) is None


def test_what_was_missed_is_left_out() -> None:
    daily = Schedule(NOW, "daily")
    assert next_due(daily, 0, NOW - timedelta(hours=1)) == (0, NOW)
    assert next_due(daily, 0, NOW + timedelta(days=2, hours=1)) == (3, NOW + timedelta(days=3))
    assert next_due(Schedule(NOW), 0, NOW + timedelta(days=1)) == (1, None)


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(NOW, end_after=3),
        Schedule(NOW, "daily", NOW + timedelta(days=1), 3),
        Schedule(NOW, "daily", NOW),
        Schedule(NOW, "daily", end_after=0),
        Schedule(NOW, "daily", end_after=1000),
        Schedule(NOW.replace(year=1), "daily"),
        Schedule(NOW.replace(year=9999), "monthly"),
        Schedule(NOW, "daily", NOW.replace(year=9999)),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(schedule: Schedule) -> None:
    check_schedule(Schedule(NOW, "daily", end_after=999))
    with pytest.raises(Refusal, match=r"job\.schedule"):
        check_schedule(schedule)
