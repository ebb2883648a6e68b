"""What the buttons of exports, jobs and edge manifests do, as code.

A destination's address and credential are secrets as a rule, so they are variables of whoever runs the code.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from moorage.automation.exports import DataExport, Destination
from moorage.automation.jobs import Job, JobDraft, Schedule, ScheduledJob
from moorage.dialects.central_exports import destination_json, export_json
from moorage.dialects.central_jobs import draft_json, schedule_json
from moorage.hub_info import HubInfo
from moorage.web.code import Act, Call, Document, Variable, act_as_code, central_path

__all__ = [
    "destination_acts",
    "device_manifest_acts",
    "export_acts",
    "job_acts",
    "manifest_acts",
    "new_job_act",
    "schedule_acts",
]

# What an answer tells and no change takes.
_TOLD: Final = ("id", "etag", "status", "errors", "lastExportTime")
# What `az iot central export` knows of (CDE-3); other destinations and sources are our own.
_AZ_DESTINATIONS: Final = ("webhook@v1",)
_CONTENT: Final = Document("manifest.json")
_AZ_SOURCES: Final = ("telemetry", "properties", "deviceLifecycle", "deviceTemplateLifecycle", "deviceConnectivity")


# -- exports -----------------------------------------------------------------------------------------------------------


def destination_acts(info: HubInfo, destination: Destination, *, is_new: bool) -> list[Act]:
    """Of a destination as its form has it; a new one is made, another is changed or deleted."""
    there = central_path("dataExport", "destinations", destination.destination_id)
    which, words = ("--dest-id", destination.destination_id), ("export", "destination")
    body = _without(destination_json(destination, [], reveal=True), _TOLD)
    if destination.kind == "webhook":
        body["url"] = Variable("DESTINATION_URL")
    credential = Variable("DESTINATION_CREDENTIAL")
    if "authorization" in body:
        body["authorization"] = {"type": "header", "value": credential}
    if "headerCustomizations" in body:
        body["headerCustomizations"] = {name: {"value": credential} for name in body["headerCustomizations"]}
    has_az = body["type"] in _AZ_DESTINATIONS
    if is_new:
        az: list[Any] = [*words, "create", *which, "--type", body["type"], "--display-name", destination.display_name]
        az += ["--url", body["url"]]
        if "authorization" in body:
            az += ["--authorization", body["authorization"]]
        if "headerCustomizations" in body:
            az += ["--header", body["headerCustomizations"]]
        # It cannot say more than these.
        has_az = has_az and not {"options", "organizations"} & set(body)
        return [
            act_as_code(info, "Save", Call("PUT", there, body, az if has_az else (), "preview")),
            act_as_code(info, "Send a test", Call("POST", "/dataExport/destinations/test", body, api="own")),
        ]
    update, delete = (*words, "update", *which, "--content", body), (*words, "delete", *which)
    return [
        act_as_code(info, "Save", Call("PATCH", there, body, update if has_az else (), "preview")),
        # What is stored needs no body, which would hold its secrets.
        act_as_code(info, "Send a test", Call("POST", f"{there}/test", api="own")),
        act_as_code(info, "Delete", Call("DELETE", there, az=delete, api="preview")),
    ]


def export_acts(info: HubInfo, export: DataExport, *, is_new: bool) -> list[Act]:
    """Of an export as its form has it; a new one is made, another is changed, switched or deleted."""
    there, which = central_path("dataExport", "exports", export.export_id), ("--export-id", export.export_id)
    body = _without(export_json(export, []), _TOLD)
    if is_new:
        az = ["export", "create", *which, "--source", export.source, "--display-name", export.display_name]
        az += ["--destinations", body["destinations"]]
        if not export.is_enabled:
            az += ["--enabled", "false"]
        if "filter" in body:
            az += ["--filter", body["filter"]]
        if "enrichments" in body:
            az += ["--enrichments", body["enrichments"]]
        said = {"displayName", "enabled", "source", "destinations", "filter", "enrichments"}
        has_az = export.source in _AZ_SOURCES and set(body) <= said
        return [
            act_as_code(info, "Save", Call("PUT", there, body, az if has_az else (), "preview")),
            act_as_code(info, "Show a sample", Call("POST", "/dataExport/exports/sample", body, api="own")),
        ]

    def update(label: str, change: Mapping[str, Any]) -> Act:
        words = ("export", "update", *which, "--content", dict(change))
        return act_as_code(info, label, Call("PATCH", there, dict(change), words, "preview"))

    # A change leaves as it is what it does not name: what was emptied is named, too.
    emptied: dict[str, Any] = {"filters": [], "matches": export.matches, "enrichments": {}, "organizations": []}
    if "filter" not in body:
        emptied["template"] = export.template
    return [
        update("Save", {**emptied, **_without(body, ("enabled",))}),
        act_as_code(info, "Show a sample", Call("POST", f"{there}/sample", api="own")),
        update("Switch off" if export.is_enabled else "Switch on", {"enabled": not export.is_enabled}),
        act_as_code(info, "Delete", Call("DELETE", there, az=("export", "delete", *which), api="preview")),
    ]


# -- jobs --------------------------------------------------------------------------------------------------------------


def new_job_act(info: HubInfo, job_id: str, draft: JobDraft, schedule: Schedule | None) -> Act:
    """The button of the wizard's last step: a job that begins, or a scheduled one."""
    body, which = draft_json(draft), ("--job-id", job_id)
    if schedule is None:
        az = ["job", "create", *which, *_job_words(draft, body)]
        return act_as_code(info, "Run", Call("PUT", central_path("jobs", job_id), body, az if _is_az(draft) else ()))
    planned = schedule_json(schedule)
    az = ["scheduled-job", "create", *which, "--schedule", planned, *_job_words(draft, body)]
    call = Call(
        "PUT", central_path("scheduledJobs", job_id), {**body, "schedule": planned}, az if _is_az(draft) else ()
    )
    return act_as_code(info, "Schedule", call)


def job_acts(info: HubInfo, job: Job, *, may_change: bool) -> list[Act]:
    """What the buttons of a job's page do, as far as they are there."""
    there, which = central_path("jobs", job.job_id), ("--job-id", job.job_id)
    acts = []
    if may_change and job.status in ("pending", "running"):
        acts.append(act_as_code(info, "Stop", Call("POST", f"{there}/stop", az=("job", "stop", *which))))
    if may_change and job.status == "stopped":
        acts.append(act_as_code(info, "Continue", Call("POST", f"{there}/resume", az=("job", "resume", *which))))
    if may_change and job.ended is not None and job.counts.failed:
        again = f"{job.job_id[:240]}-again"
        rerun = Call("PUT", there + central_path("rerun", again), az=("job", "rerun", *which, "--rerun-id", again))
        acts.append(act_as_code(info, "Rerun on failed devices", rerun))
    results = Call("GET", f"{there}/devices", az=("job", "get-devices", *which))
    return [*acts, act_as_code(info, "Download results", results)]


def schedule_acts(info: HubInfo, scheduled: ScheduledJob) -> list[Act]:
    there, which = central_path("scheduledJobs", scheduled.schedule_id), ("--job-id", scheduled.schedule_id)
    delete = act_as_code(info, "Delete", Call("DELETE", there, az=("scheduled-job", "delete", *which)))
    if scheduled.is_completed:
        return [delete]
    label = "Disable" if scheduled.is_enabled else "Enable"
    return [act_as_code(info, label, Call("PATCH", there, {"enabled": not scheduled.is_enabled})), delete]


def _is_az(draft: JobDraft) -> bool:
    """`az` knows no organization of a job, and sends a threshold's `batch` as a text."""
    return not draft.organization and draft.threshold is None


def _job_words(draft: JobDraft, body: Mapping[str, Any]) -> list[Any]:
    words = ["--job-name", draft.display_name, "--group-id", draft.group, "--content", body["data"]]
    if draft.description:
        words += ["--description", draft.description]
    if draft.batch is not None:
        words += ["--batch", str(draft.batch.value), "--batch-type", draft.batch.kind]
    return words


# -- edge manifests ----------------------------------------------------------------------------------------------------


def manifest_acts(info: HubInfo, fields: Mapping[str, str], *, is_new: bool) -> list[Act]:
    """Of a manifest as its form has it, whose content is in a file; `az` has no words for them."""
    there = central_path("deploymentManifests", fields.get("id", ""))
    body: dict[str, Any] = {"displayName": fields.get("name") or "New edge manifest", "data": _CONTENT}
    if not is_new:
        return [
            act_as_code(info, "Save", Call("PATCH", there, body, api="preview")),
            act_as_code(info, "Delete", Call("DELETE", there, api="preview")),
        ]
    if fields.get("organization"):
        body["organizations"] = [fields["organization"]]
    return [act_as_code(info, "Save", Call("PUT", there, body, api="preview"))]


def device_manifest_acts(info: HubInfo, device_id: str, manifest: str) -> list[Act]:
    """To give a device `manifest` or none, and to give it content of its own."""
    device = central_path("devices", device_id)
    give = f"{device}/applyDeploymentManifest"
    return [
        act_as_code(info, "Assign", Call("POST", give, {"id": manifest or "my-manifest"}, api="preview")),
        act_as_code(info, "Assign none", Call("DELETE", f"{device}/manifest", api="own")),
        act_as_code(info, "Apply", Call("POST", give, {"data": _CONTENT}, api="preview")),
    ]


def _without(document: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}
