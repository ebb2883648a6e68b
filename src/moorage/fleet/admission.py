"""Who of those with a good credential comes in: unknown devices, waiting ones, blocked ones (central.md 5.2, 6.2).

    unknown, by an individual enrollment ──────────────► in: somebody made that enrollment for this device
    unknown, by a group ── auto-approve on ────────────► in
                       └── auto-approve off ───────────► waits: recorded, and 400209 until somebody approves it
    known: blocked, simulated, or waiting and by a group ► 400209

A device that comes in unassigned is given the published template of the model that it announces (TPL-1, TPL-2). The
"no" becomes a registration that failed with 400209, which is what clients of IoT Central are told in this place.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from moorage.errors import Check, Forbidden
from moorage.events import Event
from moorage.fleet.limits import OURS, Limits, is_full
from moorage.fleet.model import UNASSIGNED, DeviceRecord, FleetTables, TemplateId
from moorage.fleet.service import Templates, is_auto_approve
from moorage.ids import DeviceId, HubId
from moorage.provisioning.model import AdmissionRequest

__all__ = ["FleetAdmissions", "adopt_in", "model_of"]

# A DTDL identifier is at most 128 characters long in IoT Hub; longer ones name no template.
_MAX_MODEL_ID: Final = 256
# In which member firmware announces its model; the second one is of 2020.
_MODEL_MEMBERS: Final = ("modelId", "iotcModelId")


class FleetAdmissions:
    """Port: `provisioning.model.Admissions`."""

    def __init__(self, hub: HubId, templates: Templates, limits: Limits = OURS) -> None:
        self._hub = hub
        self._templates = templates
        self._limits = limits

    def admit(self, tables: Any, request: AdmissionRequest, now: datetime) -> Forbidden | None:
        """`registration.blocked`, `registration.simulated`, `registration.waiting`, `registration.number`."""
        present = tables.devices.find(self._hub, request.device_id)
        if present is None and is_full(tables, self._hub, self._limits):
            message = f"there are {self._limits.devices} devices, and while strict_limits is on no more come in"
            return Forbidden("registration.number", message, checks=[Check("device.admitted", False, message)])
        wanted = self._wanted(tables, present, request, now)
        if wanted != present:
            tables.devices.put(wanted)
            tables.outbox.emit(Event("device.changed", self._hub, request.device_id))
        return _refusal(wanted)

    def _wanted(
        self, tables: FleetTables, present: DeviceRecord | None, request: AdmissionRequest, now: datetime
    ) -> DeviceRecord:
        record = present or DeviceRecord(
            self._hub,
            request.device_id,
            request.device_id,
            now,
            is_edge=request.is_edge,
            is_approved=is_auto_approve(tables, self._hub),
        )
        if request.group_id is None:
            record = replace(record, is_approved=True)
        model_id = model_of(request.payload)
        if record.template == UNASSIGNED and model_id:
            record = replace(record, template=self._templates.for_model(tables, model_id))
        return record


def model_of(payload: Any) -> str:
    """The id of the model that a device announces when it registers (TPL-2); '' for none."""
    if not isinstance(payload, dict):
        return ""
    for member in _MODEL_MEMBERS:
        model_id = payload.get(member)
        if isinstance(model_id, str) and 0 < len(model_id) <= _MAX_MODEL_ID:
            return model_id
    return ""


def adopt_in(tables: FleetTables, hub: HubId, device_id: DeviceId, template: TemplateId) -> bool:
    """Give a device its template if it has none; whether it was given."""
    record = tables.devices.find(hub, device_id)
    if record is None or record.template != UNASSIGNED or template == UNASSIGNED:
        return False
    tables.devices.put(replace(record, template=template, version=record.version + 1))
    tables.outbox.emit(Event("device.changed", hub, device_id))
    return True


def _refusal(record: DeviceRecord) -> Forbidden | None:
    if record.is_simulated:
        reason = "registration.simulated"
        message = f"the device '{record.device_id}' is simulated: no real device comes in under its name"
    elif record.is_blocked:
        reason, message = "registration.blocked", f"the device '{record.device_id}' is blocked; somebody can unblock it"
    elif not record.is_approved:
        reason = "registration.waiting"
        message = (
            f"the device '{record.device_id}' waits for somebody to approve it: it registered itself while "
            "auto-approve was off"
        )
    else:
        return None
    return Forbidden(reason, message, checks=[Check("device.admitted", False, message)])
