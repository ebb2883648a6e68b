"""What may follow what in the life of a job, whose turn it is, and how an end reads in the rows it left behind."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from moorage.errors import Conflict, Invalid, Refusal, TooLarge
from moorage.hub.job_model import (
    TRANSITIONS,
    UNFINISHED,
    Counts,
    DeviceStatus,
    Job,
    JobDevice,
    JobEvent,
    JobHead,
    JobId,
    JobStatus,
    move,
    out_of_time,
    parse_job_id,
    shown,
    stored_as,
)
from moorage.hub.job_runner import plan
from moorage.hub.jobs import MAX_DEVICE_IDS, MAX_EXECUTION_S, JobDraft, decide_job
from moorage.hub.methods import MethodCall
from moorage.hub.twins import TwinChange
from moorage.ids import DEFAULT_HUB, DeviceId

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
CHANGE = TwinChange(tags={"site": "a"})
SECOND = timedelta(seconds=1)


def draft(**members: Any) -> JobDraft:
    return JobDraft(**{"job_id": JobId("j"), "work": CHANGE, "condition": "*", **members})


def job(status: JobStatus = "queued", **members: Any) -> Job:
    return replace(decide_job(DEFAULT_HUB, draft(), NOW), status=status, **members)


def running(**members: Any) -> Job:
    counts = Counts(devices=10, succeeded=2, failed=1, running=3, pending=4)
    return job("running", started=NOW, counts=counts, **members)


@pytest.mark.parametrize(("status", "event"), [*itertools.product(get_args(JobStatus), get_args(JobEvent))])
def test_only_what_the_table_says_may_follow(status: JobStatus, event: JobEvent) -> None:
    if (status, event) in TRANSITIONS:
        assert move(job(status), event, LATER).status == TRANSITIONS[status, event]
    else:
        with pytest.raises(Conflict) as refused:
            move(job(status), event, LATER)
        assert refused.value.reason == "job.finished" or status in UNFINISHED


def test_every_job_can_end_and_an_ended_one_stays_so() -> None:
    for status in get_args(JobStatus):
        follows = {after for (before, _), after in TRANSITIONS.items() if before == status}
        assert bool(follows) == (status in UNFINISHED)
        assert status not in UNFINISHED or "cancelled" in follows


def test_an_end_is_stamped_and_leaves_nothing_open() -> None:
    assert move(job("enqueued"), "run", LATER).started == LATER
    complete = move(running(), "complete", LATER)
    assert complete.ended == LATER
    cancelled = move(running(), "cancel", LATER)
    assert cancelled.counts == Counts(devices=10, succeeded=2, failed=1)
    failed = move(running(), "fail", LATER, reason="job.fault", message="why")
    assert failed.counts == Counts(devices=10, succeeded=2, failed=8)
    assert (failed.failure_reason, failed.status_message) == ("job.fault", "why")


def test_a_job_is_out_of_time_from_the_second_on_that_it_was_given() -> None:
    given = running(max_execution_s=60)
    assert out_of_time(job("enqueued"), NOW + timedelta(days=9)) is None
    assert out_of_time(given, NOW + 60 * SECOND - timedelta(microseconds=1)) is None
    late = out_of_time(given, NOW + 60 * SECOND)
    assert late is not None
    assert (late.status, late.failure_reason, late.counts.failed) == ("failed", "job.out_of_time", 8)
    assert late.status_message == "its 60 s were over with 7 of 10 devices left"


def test_what_an_end_left_behind_reads_as_ended_with_it() -> None:
    left = JobDevice(DeviceId("a"), "pending", NOW)
    under_way = JobDevice(DeviceId("b"), "running", NOW, started=NOW)
    done = JobDevice(DeviceId("c"), "completed", NOW, NOW, NOW)
    assert [shown(running(), row).status for row in (left, under_way, done)] == ["pending", "running", "completed"]
    cancelled = move(running(), "cancel", LATER)
    assert [shown(cancelled, row).status for row in (left, under_way, done)] == ["canceled", "canceled", "completed"]
    assert shown(cancelled, left).ended == LATER
    failed = move(running(), "fail", LATER, reason="job.out_of_time", message="why")
    assert shown(failed, under_way) == replace(
        under_way, status="failed", updated=LATER, ended=LATER, reason="job.out_of_time", message="why"
    )


@pytest.mark.parametrize("end", [None, "cancel", "fail", "complete"])
def test_rows_are_looked_for_where_they_read_as_what_is_asked_for(end: JobEvent | None) -> None:
    over = running() if end is None else move(running(), end, LATER)
    rows = [
        JobDevice(DeviceId(status), status, NOW, NOW, NOW if status in ("completed", "failed") else None)
        for status in ("pending", "running", "completed", "failed")
    ]
    if end == "complete":
        rows = [row for row in rows if row.ended is not None]
    for status in get_args(DeviceStatus):
        stored = stored_as(over, status)
        assert {row.device_id for row in rows if row.status in stored} == {
            row.device_id for row in rows if shown(over, row).status == status
        }


@pytest.mark.parametrize("text", ["j", "0d2f-4c5e", "a" * 128, "$weird'(id)!"])
def test_an_id_of_a_job_has_the_characters_of_a_device_id(text: str) -> None:
    assert parse_job_id(text) == text


@pytest.mark.parametrize("text", ["", "a" * 129, "a/b", "a b", "Query", "ö"])
def test_an_id_that_could_not_be_asked_for_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"job\.id"):
        parse_job_id(text)


def test_a_job_without_a_start_is_due_now_and_has_an_hour() -> None:
    made = decide_job(DEFAULT_HUB, draft(), NOW)
    assert (made.status, made.start, made.max_execution_s) == ("queued", NOW, 3600)
    assert decide_job(DEFAULT_HUB, draft(start=LATER), NOW).start == LATER


def test_listed_devices_are_each_taken_once() -> None:
    ids = tuple(DeviceId(each) for each in ("b", "a", "b"))
    assert decide_job(DEFAULT_HUB, draft(condition=None, device_ids=ids), NOW).device_ids == ("a", "b")


@pytest.mark.parametrize(
    ("members", "refusal", "reason"),
    [
        ({"condition": None}, Invalid, "job.targets"),
        ({"condition": " "}, Invalid, "job.targets"),
        ({"device_ids": (DeviceId("a"),)}, Invalid, "job.targets"),
        ({"condition": None, "device_ids": ()}, Invalid, "job.targets"),
        (
            {"condition": None, "device_ids": tuple(map(DeviceId, map(str, range(MAX_DEVICE_IDS + 1))))},
            Invalid,
            "job.targets",
        ),
        ({"start": NOW + timedelta(days=367)}, Invalid, "job.start"),
        ({"max_execution_s": 0}, Invalid, "job.max_execution_time"),
        ({"max_execution_s": MAX_EXECUTION_S + 1}, Invalid, "job.max_execution_time"),
        ({"work": TwinChange()}, Invalid, "job.nothing"),
        ({"work": TwinChange(tags={}, desired={"$version": 3})}, Invalid, "job.nothing"),
        ({"work": TwinChange(desired={"a.b": 1})}, Invalid, "twin.key"),
        ({"work": TwinChange(tags={f"t{n}": "x" * 4000 for n in range(3)})}, TooLarge, "twin.size"),
        ({"work": MethodCall("no spaces")}, Invalid, "method.name"),
        ({"work": MethodCall("m", response_timeout_s=4)}, Invalid, "method.response_timeout"),
        ({"work": MethodCall("m", payload="x" * 200_000)}, TooLarge, "method.payload"),
    ],
)
def test_a_job_that_cannot_succeed_is_refused_at_once(
    members: dict[str, Any], refusal: type[Refusal], reason: str
) -> None:
    with pytest.raises(refusal) as refused:
        decide_job(DEFAULT_HUB, draft(**members), NOW)
    assert refused.value.reason == reason


def head(job_id: str, status: JobStatus, start: datetime = NOW) -> JobHead:
    return JobHead(JobId(job_id), status, start, "me")


def test_a_due_job_runs_at_once_and_a_future_one_is_scheduled() -> None:
    heads = [head("due", "queued", NOW - SECOND), head("future", "queued", LATER)]
    assert plan(heads, NOW, 10) == [("due", "await_place"), ("due", "run"), ("future", "await_start")]
    assert plan([head("future", "scheduled", LATER)], NOW, 10) == []
    assert plan([head("future", "scheduled", LATER)], LATER, 10) == [
        ("future", "await_place"),
        ("future", "run"),
    ]


def test_places_are_given_to_the_jobs_that_were_due_first() -> None:
    heads = [head("a", "running"), head("b", "enqueued"), head("c", "scheduled"), head("d", "queued")]
    assert plan(heads, NOW, 1) == [("b", "run"), ("c", "await_place"), ("d", "await_place")]
    assert plan(heads, NOW, 0) == [("c", "await_place"), ("d", "await_place")]
