"""*Settings*, *Application*, *Export*: the template of the whole application as one file (central.md NAV-16)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, TypeVar

from starlette.responses import Response

from moorage.accounts.model import Permission
from moorage.dialects.application_file import ApplicationParts, application_json
from moorage.fleet.model import TemplateId
from moorage.fleet.template_model import Template
from moorage.provisioning.model import EnrollmentGroup
from moorage.web.pages import Page, Visit
from moorage.web.services import WebServices

__all__ = ["application_file_pages"]

T = TypeVar("T")
_PAGE: Final = 500


def application_file_pages(services: WebServices) -> list[Page]:
    file = _ApplicationFile(services)
    return [Page("GET", "/settings/application/template.json", file.export, "settings.manage")]


class _ApplicationFile:
    def __init__(self, services: WebServices) -> None:
        self._services = services

    async def export(self, visit: Visit) -> Response:
        """What whoever asks may see of it."""
        now = self._services.clock.now()
        parts = await self._parts(visit)
        text = await asyncio.to_thread(
            lambda: json.dumps(application_json(parts, now), ensure_ascii=False, indent=2) + "\n"
        )
        name = f"application-{now:%Y%m%d-%H%M%S}.json"
        return Response(
            text,
            HTTPStatus.OK,
            {"content-disposition": f'attachment; filename="{name}"'},
            media_type="application/json",
        )

    async def _parts(self, visit: Visit) -> ApplicationParts:
        services, actor, automation = self._services, visit.actor, self._services.automation

        async def seen(permission: Permission, read: Callable[[], Awaitable[list[T]]]) -> list[T]:
            return await read() if visit.may(permission) else []

        async def known(values: list[T]) -> list[T]:
            return values

        return ApplicationParts(
            name=services.customization.current().name,
            organizations=await seen(
                "organizations.view",
                lambda: known([each for _, each in services.organizations.seen_by(actor)]),
            ),
            roles=await seen("users.manage", lambda: known(list(services.roles.all()))),
            templates=await seen("templates.view", self._templates),
            groups=await seen("certificates.view", self._groups),
            device_groups=await seen("groups.view", lambda: services.groups.list(actor)),
            scheduled_jobs=await seen("jobs.view", lambda: known(automation.scheduled_jobs.all(actor))),
            dashboards=await seen("dashboards.view", lambda: services.dashboards.list(actor)),
            destinations=await seen("exports.view", lambda: known(automation.exports.destinations(actor))),
            exports=await seen("exports.view", lambda: known(automation.exports.all(actor))),
            rules=await seen("rules.view", lambda: automation.rules.all(actor)),
            queries=await seen("data.view", lambda: services.queries.list(actor)),
            manifests=await seen("manifests.view", lambda: self._manifests(visit)),
        )

    async def _templates(self) -> list[Template]:
        templates = self._services.templates
        return [await templates.load(TemplateId(each.template_id)) for each in await templates.list()]

    async def _groups(self) -> list[EnrollmentGroup]:
        found: list[EnrollmentGroup] = []
        while page := await self._services.enrollments.list_groups(_PAGE, found[-1].group_id.lower() if found else ""):
            found += page
        return found

    async def _manifests(self, visit: Visit) -> list[str]:
        names: dict[Any, str] = await self._services.automation.manifests.names(visit.actor)
        return sorted(names.values())
