"""What a job does to one device: the same acts that people do from its page, for whoever made the job."""

from __future__ import annotations

from typing import Any

from moorage.accounts.model import Actor
from moorage.automation.job_service import JobTemplates, split_path
from moorage.automation.jobs import Job, JobData
from moorage.automation.manifest_giving import ManifestGiving
from moorage.errors import Conflict, Invalid
from moorage.fleet.commands import Commands
from moorage.fleet.model import TemplateId
from moorage.fleet.properties import DeviceProperties
from moorage.fleet.service import Fleet
from moorage.ids import DeviceId

__all__ = ["DeviceActs"]

# A device that answers with such a status says that it did not do what it was told.
_REFUSED = 400


class DeviceActs:
    """Port: `automation.job_runner.JobActs`."""

    def __init__(
        self,
        fleet: Fleet,
        properties: DeviceProperties,
        commands: Commands,
        templates: JobTemplates,
        giving: ManifestGiving,
    ) -> None:
        self._fleet = fleet
        self._properties = properties
        self._commands = commands
        self._templates = templates
        self._giving = giving

    async def __call__(self, actor: Actor, job: Job, device_id: DeviceId) -> str:
        """Raises as the act does, and `Conflict` (`job.other_template`) for a device that has another template now."""
        first = job.draft.data[0]
        match first.kind:
            case "property" | "cloudProperty":
                self._check_template(actor, device_id, first)
                return await self._set(actor, device_id, job.draft.data)
            case "command":
                self._check_template(actor, device_id, first)
                return await self._run(actor, device_id, first)
            case "deviceTemplateMigration":
                await self._fleet.migrate(actor, device_id, TemplateId(first.target))
                return ""
            case "deploymentManifest":
                await self._giving.assign(actor, device_id, first.target)
                return ""

    def _check_template(self, actor: Actor, device_id: DeviceId, data: JobData) -> None:
        template = self._fleet.get(actor, device_id).record.template
        if template != data.target:
            told = f"has the template '{template}'" if template else "has no template"
            raise Conflict("job.other_template", f"the device '{device_id}' {told}, and the job is for '{data.target}'")

    def _split(self, data: JobData) -> tuple[str, str]:
        interface = self._templates.interface_of(TemplateId(data.target))
        if interface is None:
            raise Invalid("job.data", f"there is no published device template {data.target[:120]!r}")
        return split_path(interface, data.path)

    async def _set(self, actor: Actor, device_id: DeviceId, data: tuple[JobData, ...]) -> str:
        changes: dict[str, dict[str, Any]] = {}
        cloud: dict[str, Any] = {}
        for each in data:
            if each.kind == "cloudProperty":
                cloud[each.path] = each.value
            else:
                component, name = self._split(each)
                changes.setdefault(component, {})[name] = each.value
        await self._properties.set(actor, device_id, changes, cloud=cloud or None)
        return ""

    async def _run(self, actor: Actor, device_id: DeviceId, data: JobData) -> str:
        component, name = self._split(data)
        run = await self._commands.run(actor, device_id, name, data.value, component=component)
        if run.is_queued:
            return "queued for the device"
        if run.status is not None and run.status >= _REFUSED:
            raise Conflict("job.command_refused", f"the device answered {run.status}: {run.response!r}"[:400])
        return f"answered {run.status}"
