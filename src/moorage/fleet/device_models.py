"""A device together with what its template says of it: what commands, properties and pages begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from moorage.accounts.model import Actor
from moorage.dtdl.model import Interface
from moorage.errors import NotFound
from moorage.fleet.model import Device, TemplateId
from moorage.fleet.template_model import Content
from moorage.ids import DeviceId

__all__ = ["ContentOf", "DeviceModel", "DeviceModels", "SeenDevices"]

# What is published of a template; None when nothing is.
ContentOf = Callable[[TemplateId], Content | None]


class SeenDevices(Protocol):
    """The devices that an actor may see; `fleet.service.Fleet` is one."""

    def get(self, actor: Actor, device_id: DeviceId) -> Device:
        """Raises `NotFound` (`device.unknown`)."""


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """`content` is None for a device that is Unassigned."""

    device: Device
    content: Content | None

    @property
    def interface(self) -> Interface | None:
        return None if self.content is None else self.content.interface

    def check_registered(self) -> None:
        """That the hub knows it, so that a command can reach it. Raises `NotFound` (`device.not_registered`)."""
        if self.device.identity is None:
            device_id = self.device.record.device_id
            raise NotFound(
                "device.not_registered",
                f"'{device_id}' has not registered with the provisioning service yet, so there is nobody to run a "
                "command; its Connect page says what it needs to come in",
            )


class DeviceModels:
    """Finds both at once."""

    def __init__(self, devices: SeenDevices, content_of: ContentOf) -> None:
        self._devices = devices
        self._content_of = content_of

    def get(self, actor: Actor, device_id: DeviceId) -> DeviceModel:
        """Raises `NotFound` (`device.unknown`)."""
        device = self._devices.get(actor, device_id)
        template = device.record.template
        return DeviceModel(device, self._content_of(template) if template else None)
