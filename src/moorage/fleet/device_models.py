"""A device together with what its template says of it: what commands, properties and pages begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from moorage.accounts.model import Actor
from moorage.dtdl.model import Interface
from moorage.fleet.model import Device, TemplateId
from moorage.ids import DeviceId

__all__ = ["DeviceModel", "DeviceModels", "SeenDevices", "TemplateInterfaces"]


class SeenDevices(Protocol):
    """The devices that an actor may see; `fleet.service.Fleet` is one."""

    def get(self, actor: Actor, device_id: DeviceId) -> Device:
        """Raises `NotFound` (`device.unknown`)."""


class TemplateInterfaces(Protocol):
    """The models of templates."""

    def interface_of(self, template_id: TemplateId) -> Interface | None:
        """None when there is no such template, or none that devices may have."""


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """`interface` is None for a device that is Unassigned."""

    device: Device
    interface: Interface | None


class DeviceModels:
    """Finds both at once."""

    def __init__(self, devices: SeenDevices, templates: TemplateInterfaces) -> None:
        self._devices = devices
        self._templates = templates

    def get(self, actor: Actor, device_id: DeviceId) -> DeviceModel:
        """Raises `NotFound` (`device.unknown`)."""
        device = self._devices.get(actor, device_id)
        template = device.record.template
        return DeviceModel(device, self._templates.interface_of(template) if template else None)
