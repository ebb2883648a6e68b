"""The template of a whole application: one JSON file of what people made, without devices, people, history and secrets
(contract/central.md NAV-16).

    {"format": "moorage application", "version": 1, "displayName": "Plant", "exported": "2027-03-01T10:00:00Z",
     "organizations": [...], "roles": [...], "deviceTemplates": [...], ..., "leftOut": [{"kind", "name", "why"}]}

Each list is named as the REST API names it, and holds what that API takes; `moorage move-in` puts it into another hub.
Certificates of groups are whole, since they are public. What would hold a secret is told in `leftOut` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from moorage.accounts.organizations import Organization
from moorage.accounts.roles import RoleDefinition
from moorage.analytics.boards import Board, Dashboard, SavedQuery
from moorage.automation.exports import DataExport, Destination
from moorage.automation.jobs import ScheduledJob
from moorage.automation.rule_model import EmailAction, Rule
from moorage.dialects.central_dashboards import dashboard_json
from moorage.dialects.central_device_groups import device_group_json
from moorage.dialects.central_exports import destination_json, export_json
from moorage.dialects.central_groups import group_json
from moorage.dialects.central_jobs import scheduled_job_json
from moorage.dialects.central_people import organization_json
from moorage.dialects.queries_json import query_json
from moorage.dialects.roles_json import role_json
from moorage.dialects.rules_json import rule_json
from moorage.dialects.template_json import template_json
from moorage.dialects.times import format_time
from moorage.dialects.views_json import view_json
from moorage.fleet.groups import DeviceGroup
from moorage.fleet.template_model import Template
from moorage.provisioning.drafts import signing_certificates
from moorage.provisioning.model import ByCAReferences, EnrollmentGroup

__all__ = ["FORMAT", "VERSION", "ApplicationParts", "application_json"]

FORMAT: Final = "moorage application"
VERSION: Final = 1
# What only the hub that wrote it can use; a new one gives its own.
_OF_ONE_HUB: Final = ("etag", "status", "created", "updated", "lastExportTime", "completed", "builtIn")
_SECRETS: Final = ("authorization", "headerCustomizations")


# Told of a kind, a name, and why.
LeaveOut = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class ApplicationParts:
    """What an application consists of, as whoever exports it sees it."""

    name: str
    organizations: Sequence[Organization]
    roles: Sequence[RoleDefinition]
    templates: Sequence[Template]
    groups: Sequence[EnrollmentGroup]
    device_groups: Sequence[DeviceGroup]
    scheduled_jobs: Sequence[ScheduledJob]
    dashboards: Sequence[Board[Dashboard]]
    destinations: Sequence[Destination]
    exports: Sequence[DataExport]
    rules: Sequence[Rule]
    queries: Sequence[Board[SavedQuery]]
    manifests: Sequence[str]


def application_json(parts: ApplicationParts, at: datetime) -> dict[str, Any]:
    """Made as a thread may: a large application takes some hundred milliseconds."""
    left_out: list[dict[str, str]] = []

    def leave_out(kind: str, name: str, why: str) -> None:
        left_out.append({"kind": kind, "name": name, "why": why})

    for name in parts.manifests:
        leave_out("edge manifests", name, "it can hold credentials of registries, so it is exported on its own page")
    for template in parts.templates:
        if template.published is None:
            leave_out("device templates", template.template_id, "it is a draft that nobody has published")
    for destination in parts.destinations:
        why = "its address is shortened, and what is shown to it left out: type both again"
        leave_out("destinations of data exports", destination.destination_id, why)
    boards: list[Board[Any]] = [*parts.dashboards, *parts.queries]
    for board in boards:
        if board.is_personal:
            leave_out("dashboards and queries", board.display_name, "it is somebody's own")
    rules = [_without_web_hooks(rule, leave_out) for rule in parts.rules]
    return {
        "format": FORMAT,
        "version": VERSION,
        "displayName": parts.name,
        "exported": format_time(at),
        "organizations": [_plain(organization_json(each)) for each in parts.organizations],
        "roles": [_plain(role_json(each)) for each in parts.roles if not each.is_built_in],
        "deviceTemplates": [_template(each) for each in parts.templates if each.published is not None],
        "enrollmentGroups": [_group(each, leave_out) for each in parts.groups],
        "deviceGroups": [_plain(device_group_json(each)) for each in parts.device_groups if not each.is_default],
        "scheduledJobs": [_plain(scheduled_job_json(each)) for each in parts.scheduled_jobs],
        "dashboards": [_plain(dashboard_json(each)) for each in parts.dashboards if not each.is_personal],
        "dataExport/destinations": [
            _plain(destination_json(each, (), reveal=False), *_SECRETS) for each in parts.destinations
        ],
        "dataExport/exports": [_plain(export_json(each, ())) for each in parts.exports],
        "rules": [_plain(rule_json(each, reveal=False)) for each in rules],
        "queries": [_plain(query_json(each)) for each in parts.queries if not each.is_personal],
        "leftOut": left_out,
    }


def _plain(document: Mapping[str, Any], *more: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in (*_OF_ONE_HUB, *more)}


def _template(template: Template) -> dict[str, Any]:
    views = [_plain(view_json(view, template.etag)) for view in template.content.own_views]
    return {**_plain(template_json(template)), "views": views}


def _group(group: EnrollmentGroup, leave_out: LeaveOut) -> dict[str, Any]:
    document = _plain(group_json(group, reveal=False))
    name = group.display_name or group.group_id
    if isinstance(group.attestation, ByCAReferences):
        leave_out("device connection groups", name, "it trusts CAs that are registered: register them there too")
    signers = {slot: signer.certificate for slot, signer in signing_certificates(group.attestation)}
    if signers:
        document["attestation"] = {"type": "x509"}
        document["certificates"] = {
            slot: {"certificate": certificate.pem, "info": {"sha1Thumbprint": certificate.sha1}}
            for slot, certificate in signers.items()
        }
    return document


def _without_web_hooks(rule: Rule, leave_out: LeaveOut) -> Rule:
    """The address of a web hook is a secret: whoever has it can call it. IoT Central leaves them out too."""
    kept = tuple(action for action in rule.actions if isinstance(action, EmailAction))
    for action in rule.actions:
        if action not in kept:
            leave_out("rules", rule.display_name, f"its web hook '{action.display_name}', whose address is a secret")
    return replace(rule, actions=kept)
