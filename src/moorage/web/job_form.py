"""A job as the fields of its wizard, and back: Configure, Delivery options, Schedule, Review (central.md JOB-1).

Values are typed as the template's schemas say. All steps are one form: what another step holds goes along hidden.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, get_args

from moorage.accounts.model import OrganizationId
from moorage.automation.job_service import split_path
from moorage.automation.jobs import (
    DATA_KINDS,
    Amount,
    DataKind,
    Job,
    JobData,
    JobDraft,
    Recurrence,
    Schedule,
    ScheduledJob,
    Threshold,
    check_schedule,
)
from moorage.dialects.json_text import parse_json
from moorage.dtdl.model import Interface
from moorage.errors import Invalid
from moorage.web.automation_forms import rows_of
from moorage.web.forms import about

__all__ = [
    "KIND_WORDS",
    "MAX_ROWS",
    "STATUS_LIGHTS",
    "STEPS",
    "TYPED",
    "describe",
    "draft_of",
    "job_fields",
    "kind_of",
    "percent_of",
    "schedule_fields",
    "schedule_of",
    "when_words",
]

MAX_ROWS: Final = 20
# A row of a property and its value.
TYPED: Final = ("path", "value")
STEPS: Final = ("Configure", "Delivery options", "Schedule", "Review")
KIND_WORDS: Final[Mapping[DataKind, str]] = {
    "cloudProperty": "Cloud property",
    "property": "Property",
    "command": "Command",
    "deviceTemplateMigration": "Change device template",
    "deploymentManifest": "Change edge deployment manifest",
}
# Of statuses: the light and the word (JOB-8).
STATUS_LIGHTS: Final = {
    "pending": ("off", "Pending"),
    "running": ("good", "Running"),
    "completed": ("good", "Completed"),
    "failed": ("bad", "Failed"),
    "stopped": ("off", "Stopped"),
    "canceled": ("bad", "Canceled"),
}
_RECURRENCES: Final[tuple[Recurrence, ...]] = get_args(Recurrence)
_MAX_VALUE: Final = 16 * 1024


def kind_of(fields: Mapping[str, str]) -> DataKind:
    return next((each for each in DATA_KINDS if each == fields.get("kind")), "property")


def draft_of(fields: Mapping[str, str], template: str, interface: Interface | None) -> JobDraft:
    """What is asked for, for devices of `template`. Raises `Invalid` (`job.*`, `template.value`)."""
    return JobDraft(
        display_name=fields.get("name", "").strip(),
        group=fields.get("group", ""),
        data=tuple(_data(fields, template, interface)),
        description=fields.get("description", "").strip(),
        batch=_amount(fields, "batch", "job.batch"),
        threshold=_threshold(fields),
        organization=OrganizationId(fields.get("organization", "")),
    )


def _data(fields: Mapping[str, str], template: str, interface: Interface | None) -> Iterator[JobData]:
    kind = kind_of(fields)
    match kind:
        case "property" | "cloudProperty":
            for number, (path, text) in rows_of(fields, TYPED, TYPED, MAX_ROWS):
                with about(f"{'value' if path else 'path'}{number}"):
                    if not path:
                        raise Invalid("job.data", "a value is for a property, and none was named")
                    value = _property_value(interface, kind, path, text, number)
                yield JobData(kind, template, path, value)
        case "command":
            text = fields.get("cvalue", "").strip()
            with about("cvalue"):
                request = _json(text) if text else None
            yield JobData(kind, template, fields.get("cpath", ""), request)
        case "deviceTemplateMigration":
            yield JobData(kind, fields.get("to_template", ""))
        case "deploymentManifest":
            yield JobData(kind, fields.get("manifest", ""))


def _property_value(interface: Interface | None, kind: DataKind, path: str, text: str, number: int) -> Any:
    """An empty field takes the value away, as in every form of properties."""
    if not text or interface is None:
        return None
    component, name = ("", path) if kind == "cloudProperty" else split_path(interface, path)
    found = interface.find_property(name, component)
    if found is None:
        raise Invalid("job.data", f"the template has no property {path[:120]!r}", field=f"path{number}")
    return found.schema.parse_text(text[:_MAX_VALUE])


def _json(text: str) -> Any:
    if len(text) > _MAX_VALUE:
        raise Invalid("job.data", f"a command is called with at most {_MAX_VALUE} characters, these are {len(text)}")
    try:
        return parse_json(text.encode(), what="the request")
    except Invalid as refusal:
        said = "what a command is called with is JSON: a text stands in quotes"
        raise Invalid("job.data", said if refusal.reason == "json.malformed" else refusal.message) from None


def _amount(fields: Mapping[str, str], name: str, reason: str) -> Amount | None:
    text = fields.get(name, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 7:
        raise Invalid(reason, f"{text[:20]!r} is no whole number")
    return Amount("percentage" if fields.get(f"{name}_kind") == "percentage" else "number", int(text))


def _threshold(fields: Mapping[str, str]) -> Threshold | None:
    amount = _amount(fields, "threshold", "job.threshold")
    return None if amount is None else Threshold(amount, "threshold_per_batch" in fields)


def schedule_of(fields: Mapping[str, str]) -> Schedule | None:
    """None for a job that runs now. Times are UTC. Raises `Invalid` (`job.schedule`) with the field."""
    chosen = fields.get("recurrence", "now")
    if chosen == "now":
        return None
    recurrence = next((each for each in _RECURRENCES if each == chosen), None)
    end_by, end_after = None, None
    if recurrence is not None and fields.get("end") == "date":
        with about("end_date"):
            end_by = _moment(fields.get("end_date", ""), "23:59")
    elif recurrence is not None and fields.get("end") == "runs":
        text = fields.get("end_runs", "").strip()
        if not text.isascii() or not text.isdigit() or len(text) > 4:
            raise Invalid("job.schedule", f"{text[:20]!r} is no number of runs", field="end_runs")
        end_after = int(text)
    start = _moment(fields.get("start_date", ""), fields.get("start_time", ""))
    schedule = Schedule(start, recurrence, end_by, end_after)
    check_schedule(schedule)
    return schedule


def _moment(day: str, time: str) -> datetime:
    try:
        return datetime.fromisoformat(f"{day.strip()}T{time.strip() or '00:00'}").replace(tzinfo=UTC)
    except ValueError:
        raise Invalid("job.schedule", f"{day[:20]!r} and {time[:20]!r} are no date and time") from None


def job_fields(draft: JobDraft) -> dict[str, str]:
    """What a wizard for a copy of it begins with."""
    first = draft.data[0]
    fields = {
        "name": draft.display_name,
        "description": draft.description,
        "group": draft.group,
        "organization": draft.organization,
        "kind": first.kind,
        "recurrence": "now",
    }
    match first.kind:
        case "property" | "cloudProperty":
            for number, data in enumerate(draft.data):
                fields |= {f"path{number}": data.path, f"value{number}": _text(data.value)}
        case "command":
            fields |= {"cpath": first.path, "cvalue": "" if first.value is None else json.dumps(first.value)}
        case "deviceTemplateMigration":
            fields["to_template"] = first.target
        case "deploymentManifest":
            fields["manifest"] = first.target
    if draft.batch is not None:
        fields |= {"batch": str(draft.batch.value), "batch_kind": draft.batch.kind}
    if draft.threshold is not None:
        amount = draft.threshold.amount
        fields |= {"threshold": str(amount.value), "threshold_kind": amount.kind}
        fields |= {"threshold_per_batch": "on"} if draft.threshold.is_per_batch else {}
    return fields


def schedule_fields(scheduled: ScheduledJob) -> dict[str, str]:
    schedule = scheduled.schedule
    fields = job_fields(scheduled.draft) | {
        "recurrence": schedule.recurrence or "once",
        "start_date": f"{schedule.start:%Y-%m-%d}",
        "start_time": f"{schedule.start:%H:%M}",
    }
    if schedule.end_by is not None:
        fields |= {"end": "date", "end_date": f"{schedule.end_by:%Y-%m-%d}"}
    if schedule.end_after is not None:
        fields |= {"end": "runs", "end_runs": str(schedule.end_after)}
    return fields


def describe(draft: JobDraft, names: Mapping[str, str]) -> list[str]:
    """What it does, a line each. `names` are of templates and manifests, by id."""
    lines = []
    for data in draft.data:
        match data.kind:
            case "property" | "cloudProperty":
                lines.append(f"{data.path} = {_text(data.value) or '(taken away)'}")
            case "command":
                lines.append(f"{data.path}({'' if data.value is None else json.dumps(data.value)[:200]})")
            case "deviceTemplateMigration" | "deploymentManifest":
                lines.append(names.get(data.target, data.target))
    return lines


def when_words(schedule: Schedule | None) -> str:
    if schedule is None:
        return "now"
    start = f"{schedule.start:%Y-%m-%d %H:%M} UTC"
    if schedule.recurrence is None:
        return f"once, {start}"
    words = f"{schedule.recurrence}, from {start}"
    if schedule.end_by is not None:
        return f"{words} until {schedule.end_by:%Y-%m-%d}"
    return words if schedule.end_after is None else f"{words}, {schedule.end_after} times"


def percent_of(job: Job) -> tuple[int, int]:
    """(completed, failed) of a hundred."""
    total = max(1, job.counts.total)
    return 100 * job.counts.completed // total, -(-100 * job.counts.failed // total)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
