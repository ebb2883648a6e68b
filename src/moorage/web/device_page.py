"""What every page of one device has: who it is, its state, what can be done to it, and its tabs (DEV-1, DEV-2)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, NamedTuple

from starlette.responses import Response

from moorage.dialects.hub_json import Presence
from moorage.fleet.device_models import DeviceModel
from moorage.fleet.model import DeviceState
from moorage.hub.model import Twin
from moorage.ids import DeviceId, IdentityName, new_tracking_id, parse_device_id
from moorage.web.pages import Visit, segment
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["STATE_LABELS", "DevicePage", "Tab", "device_of", "new_run_id", "path_of", "view_tab"]

# contract/central.md 5.1
STATE_LABELS: dict[DeviceState, str] = {
    "registered": "Registered",
    "provisioned": "Provisioned",
    "waiting": "Waiting for approval",
    "blocked": "Blocked",
}


class Tab(NamedTuple):
    name: str
    path: str
    label: str


class DevicePage:
    """Finds the device of a visit, and renders a page of it."""

    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self.services = services
        self.renderer = renderer

    def find(self, visit: Visit) -> DeviceModel:
        """Raises `NotFound` (`device.unknown`), also for what whoever asks may not see; `Invalid` (`id.device`)."""
        return self.services.models.get(visit.actor, device_of(visit))

    def twin(self, model: DeviceModel) -> Twin:
        """Of one that has not registered, with what waits for it."""
        return self.services.properties.twin(model.device.record.device_id)

    def presence(self, model: DeviceModel) -> Presence:
        """When it was last heard of counts its modules, which speak for an Edge device (they share its connection)."""
        services, device_id = self.services, model.device.record.device_id
        own = services.presence.of(services.hub, IdentityName(device_id))
        if not model.device.record.is_edge:
            return own
        modules = services.store.read().identities.list_modules(services.hub, device_id)
        heard = [services.presence.of(services.hub, each.name).last_activity for each in modules]
        latest = max((moment for moment in (own.last_activity, *heard) if moment is not None), default=None)
        return Presence(own.is_connected, own.changed, latest)

    def tabs(self, visit: Visit, model: DeviceModel) -> list[Tab]:
        views = () if model.content is None else model.content.views
        first = views[0].view_id if views else "overview"
        tabs = [
            Tab(view_tab(view.view_id), "" if view.view_id == first else f"/views/{segment(view.view_id)}", view.name)
            for view in views
        ]
        if not views:
            tabs.append(Tab(view_tab("overview"), "", "Overview"))
            # TPL-10: any command, by its name.
            tabs.append(Tab("command", "/command", "Commands"))
        if visit.may("data.view"):
            tabs.append(Tab("data", "/data", "Raw data"))
        tabs.append(Tab("properties", "/properties", "Properties"))
        if visit.may("data.view"):
            tabs.append(Tab("aliases", "/aliases", "Mapped aliases"))
            tabs.append(Tab("files", "/files", "Files"))
        if model.device.record.is_edge:
            tabs.append(Tab("modules", "/modules", "Modules"))
            tabs.append(Tab("downstream", "/downstream", "Downstream devices"))
        if visit.may("certificates.view"):
            tabs.append(Tab("certificate", "/certificate", "Certificate"))
        tabs.append(Tab("connection", "/connection", "Connection"))
        return tabs

    async def page(
        self,
        visit: Visit,
        model: DeviceModel,
        template: str,
        *,
        tab: str,
        status: HTTPStatus = HTTPStatus.OK,
        **values: Any,
    ) -> Response:
        """`values` are for the template, besides what its head needs."""
        record = model.device.record
        return await self.renderer.long_page(
            visit,
            template,
            status,
            device=model.device,
            record=record,
            identity=model.device.identity,
            presence=self.presence(model),
            template_name="" if model.content is None else model.content.display_name,
            organizations=self._organizations(visit, model),
            state_label=STATE_LABELS[model.device.state],
            here=path_of(record.device_id),
            tabs=self.tabs(visit, model),
            tab=tab,
            new_id=new_run_id,
            **values,
        )

    def _organizations(self, visit: Visit, model: DeviceModel) -> list[str]:
        """The names of its organisation and those above it that whoever asks sees, the outermost first."""
        organization = model.device.record.organization
        above = self.services.organizations.path(organization) if organization else []
        return [each.display_name for each in above if visit.actor.sees(each.organization_id)]


def view_tab(view_id: str) -> str:
    """The name of a view's tab, which is no other tab's, however people call their views."""
    return f"view {view_id}"


def new_run_id() -> str:
    """For a form that runs a command: sent twice, it runs once."""
    return new_tracking_id().lower()


def device_of(visit: Visit) -> DeviceId:
    return parse_device_id(visit.path["device_id"])


def path_of(device_id: DeviceId) -> str:
    return f"/devices/{segment(device_id)}"
