"""`moorage job`: twin updates and method calls for many devices (contract/services.md 2.11)."""

from __future__ import annotations

import json
import shlex
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from moorage.cli.arguments import Spelled, check_condition, device_ids, in_options, job_ids, json_object, json_value
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, moment, print_json, print_table
from moorage.errors import Unavailable

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient

__all__ = ["job"]

_TYPES: Final = {"twin-update": "scheduleUpdateTwin", "method": "scheduleDeviceMethod"}
# The service spells the end of a job and that of a device differently; people need not.
_STATUSES: Final = Spelled(
    {name: name for name in ("queued", "scheduled", "enqueued", "running", "completed", "failed", "cancelled")},
    {"canceled": "cancelled"},
)
_DEVICE_STATUSES: Final = Spelled(
    {name: name for name in ("pending", "running", "completed", "failed", "canceled")}, {"cancelled": "canceled"}
)
_ENDED: Final = frozenset({"completed", "failed", "cancelled"})
_PAGE: Final = 1000
# How often a job is looked at: soon after its start, then less and less often.
_SOON_S: Final = 0.1
_SELDOM_S: Final = 2.0
_OPTIONS: Final = {
    "queryCondition": "--where",
    "deviceIds": "--device",
    "startTime": "--start",
    "maxExecutionTimeInSeconds": "--max-seconds",
}

_Function = Callable[..., Any]


@click.group(cls=Group)
def job() -> None:
    """Update twins or call methods of many devices at once."""


@job.group("create", cls=Group)
def create() -> None:
    """Start a job, now or later."""


def _job_options(function: _Function) -> _Function:
    for option in (
        click.option("--wait", is_flag=True, help="Wait until it has ended; exit with 1 unless all devices succeeded."),
        click.option(
            "--max-seconds",
            type=click.IntRange(min=1),
            default=3600,
            show_default=True,
            help="What it has not come to by then has failed.",
        ),
        click.option("--start", metavar="TIME", help="When it is due, as 2030-01-31T12:00:00Z. Default: now."),
        click.option("--id", "job_id", metavar="ID", help="Its id. Default: one that is made up."),
        click.option(
            "--device",
            "devices",
            multiple=True,
            metavar="ID",
            shell_complete=device_ids,
            help="For this device. Can be repeated.",
        ),
        click.option(
            "--where", metavar="CONDITION", help="For devices of which this holds, as \"tags.site = 'a'\"; * is all."
        ),
    ):
        function = option(function)
    return function


@create.command("twin-update")
@click.option("--desired", metavar="JSON", help="Merge this object into the desired properties; null removes a member.")
@click.option("--tags", metavar="JSON", help="Merge this object into the tags.")
@_job_options
@pass_invocation
def create_twin_update(invocation: Invocation, /, desired: str | None, tags: str | None, **options: Any) -> None:
    """Update the twins of many devices; those that are connected are told at once."""
    if desired is None and tags is None:
        raise click.UsageError("give --desired, --tags or both")
    patch: dict[str, Any] = {"etag": "*"}
    if desired is not None:
        patch["properties"] = {"desired": json_object(desired, "--desired")}
    if tags is not None:
        patch["tags"] = json_object(tags, "--tags")
    _create(invocation, {"type": _TYPES["twin-update"], "updateTwin": patch}, **options)


@create.command("method")
@click.argument("name")
@click.option("--payload", metavar="JSON", default="null", show_default=True)
@click.option("--timeout", type=click.IntRange(5, 300), default=30, show_default=True, help="Seconds for the answer.")
@click.option(
    "--connect-timeout",
    type=click.IntRange(0, 300),
    default=0,
    show_default=True,
    help="Seconds to wait for a device to connect.",
)
@_job_options
@pass_invocation
def create_method(
    invocation: Invocation, /, name: str, payload: str, timeout: int, connect_timeout: int, **options: Any
) -> None:
    """Call the method NAME on many devices and keep their answers."""
    call = {
        "methodName": name,
        "payload": json_value(payload, "--payload"),
        "responseTimeoutInSeconds": timeout,
        "connectTimeoutInSeconds": connect_timeout,
    }
    _create(invocation, {"type": _TYPES["method"], "cloudToDeviceMethod": call}, **options)


def _create(
    invocation: Invocation,
    work: dict[str, Any],
    *,
    where: str | None,
    devices: tuple[str, ...],
    job_id: str | None,
    start: str | None,
    max_seconds: int,
    wait: bool,
) -> None:
    if (where is None) == (not devices):
        raise click.UsageError("give --where, or --device once or more")
    if where is not None:
        check_condition(where, "--where")
    job_id = job_id or str(uuid.uuid4())
    body = {
        **work,
        "jobId": job_id,
        "queryCondition": where,
        "deviceIds": list(devices) or None,
        "startTime": start,
        "maxExecutionTimeInSeconds": max_seconds,
    }
    hub = invocation.hub()
    with in_options(_OPTIONS):
        made = hub.request("PUT", _path(job_id), body=body)
    if wait:
        _finish(invocation, _follow(hub, job_id))
    else:
        invocation.report(
            made,
            f"Job {escape(job_id)} is {escape(made['status'])}.",
            f"Next: moorage job show {escape(shlex.quote(job_id))} --watch",
        )


@job.command("list")
@click.option("--type", "kind", type=click.Choice(list(_TYPES)), help="Only jobs of this type.")
@click.option("--status", type=_STATUSES, help="Only jobs that are this.")
@click.option("--top", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@pass_invocation
def list_jobs(invocation: Invocation, kind: str | None, status: str | None, top: int) -> None:
    """List jobs, the newest first."""
    query = {"jobType": _TYPES.get(kind or ""), "jobStatus": status}
    given = {name: value for name, value in query.items() if value is not None}
    found = islice(invocation.hub().list_all("/jobs/v2/query", given), top)
    if invocation.as_json:
        for document in found:
            print_json(document)
        return
    print_table(
        ["job", "type", "status", "start", "devices", "succeeded", "failed"],
        [
            [
                document["jobId"],
                _short(document["type"]),
                document["status"],
                moment(document["startTime"]),
                *(document["deviceJobStatistics"][f"{name}Count"] for name in ("device", "succeeded", "failed")),
            ]
            for document in found
        ],
        dispensable=["succeeded", "type", "start", "devices"],
    )


@job.command("show")
@click.argument("job_id", metavar="ID", shell_complete=job_ids)
@click.option("--devices", is_flag=True, help="What became of each device instead.")
@click.option("--status", type=_DEVICE_STATUSES, help="Only devices that are this; with --devices.")
@click.option(
    "--watch",
    is_flag=False,
    flag_value=_SELDOM_S,
    type=click.FloatRange(min=0.5),
    metavar="[SECONDS]",
    help=f"Follow it until it has ended, and look at least so often.  [default: {_SELDOM_S:g}]",
)
@pass_invocation
def show_job(invocation: Invocation, job_id: str, devices: bool, status: str | None, watch: float | None) -> None:
    """Show the job ID."""
    if status is not None and not devices:
        raise click.UsageError("--status is for --devices")
    hub = invocation.hub()
    document = hub.request("GET", _path(job_id)) if watch is None else _follow(hub, job_id, watch)
    if not devices:
        invocation.show(document)
        return
    rows = _devices(hub, job_id, status)
    if invocation.as_json:
        for row in rows:
            print_json(row)
        return
    print_table(
        ["device", "status", "ended", "result"],
        [[row["deviceId"], row["status"], moment(row.get("endTimeUtc", "")), _result(row)] for row in rows],
        dispensable=["ended"],
    )


@job.command("cancel")
@click.argument("job_id", metavar="ID", shell_complete=job_ids)
@pass_invocation
def cancel_job(invocation: Invocation, job_id: str) -> None:
    """Stop the job ID where it is; what it did stays."""
    document = invocation.hub().request("POST", f"{_path(job_id)}/cancel")
    invocation.report(document, _sentence(document))


def _path(job_id: str) -> str:
    from moorage.cli.hub_client import segment
    from moorage.hub.job_model import parse_job_id

    return f"/jobs/v2/{segment(parse_job_id(job_id))}"


def _devices(hub: HubClient, job_id: str, status: str | None) -> Iterator[dict[str, Any]]:
    from moorage.cli.hub_client import segment

    query = {"limit": str(_PAGE)} | ({} if status is None else {"status": status})
    while True:
        rows = hub.request("GET", f"/moorage/v1/jobs/{segment(job_id)}/devices", query=query)
        yield from rows
        if len(rows) < _PAGE:
            return
        query["after"] = rows[-1]["deviceId"]


def _follow(hub: HubClient, job_id: str, seldom_s: float = _SELDOM_S) -> dict[str, Any]:
    """The job once it has ended; how far it is, on a terminal, meanwhile."""
    pause_s = _SOON_S
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=1, label=f"Job {escape(job_id)}", file=sys.stderr, hidden=hidden) as bar:
        while True:
            document: dict[str, Any] = hub.request("GET", _path(job_id))
            counts = document.get("deviceJobStatistics", {})
            bar.label = f"Job {escape(job_id)} is {escape(document['status'])}"
            bar.length = max(1, counts.get("deviceCount", 0))
            bar.update(counts.get("succeededCount", 0) + counts.get("failedCount", 0) - bar.pos)
            if document["status"] in _ENDED or document["status"] == "unknown":
                return document
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, seldom_s)


def _finish(invocation: Invocation, document: dict[str, Any]) -> None:
    """Say how it ended. Raises `Unavailable` (`job.not_all`) unless every device succeeded."""
    invocation.report(document, _sentence(document))
    counts = document["deviceJobStatistics"]
    left = counts["deviceCount"] - counts["succeededCount"]
    if document["status"] != "completed" or left:
        why = document.get("statusMessage", f"{left} of {counts['deviceCount']} devices did not succeed")
        raise Unavailable("job.not_all", why, fix=f"moorage job show {shlex.quote(document['jobId'])} --devices")


def _sentence(document: dict[str, Any]) -> str:
    counts = document["deviceJobStatistics"]
    if document["status"] == "completed" and not counts["deviceCount"]:
        return f"Job {escape(document['jobId'])} is completed. The condition selects no device: nothing was done."
    return (
        f"Job {escape(document['jobId'])} is {escape(document['status'])}: of {counts['deviceCount']} devices "
        f"{counts['succeededCount']} succeeded, {counts['failedCount']} failed."
    )


def _result(row: dict[str, Any]) -> str:
    """A method's answer, or why there is none."""
    if "error" in row:
        return str(row["error"]["description"])
    if "outcome" in row:
        reply = row["outcome"]["deviceMethodResponse"]
        return f"{reply['status']}: {json.dumps(reply['payload'])}"
    return ""


def _short(wire_type: str) -> str:
    return next((name for name, wire in _TYPES.items() if wire == wire_type), wire_type)
