"""Connect: what a device needs to come in, and its own enrollment (contract/central.md 4.2, 4.3, 4.5).

Authentication type ──► Shared access signature: keys that its group gives it
                    └─► Individual enrollment ──► Authentication method: SAS, X.509 or TPM ──► Save
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final, Literal, get_args

from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from moorage.errors import Conflict, Invalid, PreconditionFailed, Refusal, TooLarge
from moorage.fleet.model import Device, DeviceRecord
from moorage.ids import ETag, Secret, parse_device_id
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificate
from moorage.provisioning.drafts import AttestationDraft, CertificatesDraft, Kept, KeysDraft
from moorage.provisioning.model import (
    ByClientCertificates,
    BySymmetricKey,
    ByTpm,
    IndividualEnrollment,
    Slot,
)
from moorage.web.enrollment_code import connect_acts
from moorage.web.forms import about
from moorage.web.groups import dates_note, typed_key
from moorage.web.pages import Page, Visit, etag_for, segment
from moorage.web.rendering import Renderer
from moorage.web.samples import edge_config, files_of, key_picture, sample_variables
from moorage.web.services import WebServices

__all__ = ["connect_pages"]

Method = Literal["symmetricKey", "x509", "tpm"]
_TYPES: Final = {"group": "Shared access signature (SAS)", "individual": "Individual enrollment"}
_METHODS: Final[dict[Method, str]] = {
    "symmetricKey": "Shared access signature (SAS)",
    "x509": "Certificates (X.509)",
    "tpm": "Trusted Platform Module (TPM)",
}
_TOLD = (Invalid, Conflict, PreconditionFailed, TooLarge)
# A TPM2B_PUBLIC in base64 has some 500 characters.
_MAX_TPM_KEY: Final = 8192


def connect_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Connect(services, renderer)
    here = "/devices/{device_id}/connect"
    return [
        Page("GET", here, pages.show, "devices.view"),
        Page("POST", here, pages.save, "devices.manage", keeps=True),
        Page("POST", here + "/remove", pages.remove, "devices.manage"),
    ]


class _Connect:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._credentials = services.credentials
        self._renderer = renderer

    async def show(self, visit: Visit) -> Response:
        device = self._device(visit)
        return await self._page(visit, device, visit.query.get("type", ""), visit.query.get("method", ""))

    async def save(self, visit: Visit) -> Response:
        device, fields = self._device(visit), await visit.form()
        try:
            visit.check_in_time()
            draft = await self._draft(visit, device.record, fields)
            if_match = ETag(fields["etag"]) if fields.get("etag") else None
            await self._credentials.put(device.record, draft, if_match=if_match, by=visit.by)
        except _TOLD as refusal:
            return await self._page(visit, device, "individual", fields.get("method", ""), fields, refusal)
        return RedirectResponse(_path(device.record), HTTPStatus.SEE_OTHER)

    async def remove(self, visit: Visit) -> Response:
        device, fields = self._device(visit), await visit.form()
        try:
            await self._credentials.delete(device.record, if_match=ETag(fields.get("etag", "")), by=visit.by)
        except _TOLD as refusal:
            return await self._page(visit, device, "individual", "", fields, refusal)
        return RedirectResponse(_path(device.record), HTTPStatus.SEE_OTHER)

    async def _draft(self, visit: Visit, record: DeviceRecord, fields: dict[str, str]) -> AttestationDraft:
        match _method(fields.get("method", "")):
            case "symmetricKey":
                return KeysDraft(*(typed_key(fields, slot) for slot in get_args(Slot)))
            case "tpm":
                endorsement, root = (fields.get(name, "").strip() for name in ("endorsement", "root"))
                if not endorsement or len(endorsement) + len(root) > _MAX_TPM_KEY:
                    raise Invalid(
                        "form.endorsement_key",
                        "a TPM is enrolled by its endorsement key, in base64",
                        field="endorsement",
                    )
                return ByTpm(endorsement, root or None)
            case "x509":
                stored = self._credentials.individual(record.device_id)
                held = stored.attestation if stored is not None else None
                primary, secondary = [
                    await self._slot(
                        visit, slot, getattr(held, slot) if isinstance(held, ByClientCertificates) else None
                    )
                    for slot in get_args(Slot)
                ]
                return CertificatesDraft(primary, secondary)

    async def _slot(self, visit: Visit, slot: Slot, held: Certificate | None) -> Certificate | Kept | None:
        """The file that was chosen, else what the slot holds."""
        uploaded = await visit.upload(slot)
        if uploaded:
            with about(slot):
                return await asyncio.to_thread(parse_certificate, uploaded)
        return Kept() if held is not None else None

    async def _page(
        self,
        visit: Visit,
        device: Device,
        asked_type: str,
        asked_method: str,
        fields: dict[str, str] | None = None,
        problem: Refusal | None = None,
    ) -> Response:
        services, record, info = self._services, device.record, self._services.info()
        enrollment = self._credentials.individual(record.device_id)
        kind = asked_type if asked_type in _TYPES else "individual" if enrollment is not None else "group"
        method = asked_method if asked_method in _METHODS else _method_of(enrollment)
        may_manage = visit.may("devices.manage")
        keys: tuple[Secret, Secret] | None = None
        group = ""
        if kind == "group":
            derived = await self._credentials.derived(record)
            if derived is not None:
                group, keys = derived.group_id, (derived.primary, derived.secondary)
        elif enrollment is not None and method == "symmetricKey" and isinstance(enrollment.attestation, BySymmetricKey):
            keys = enrollment.attestation.primary, enrollment.attestation.secondary
        shown = keys if may_manage else None
        picture = await asyncio.to_thread(key_picture, info, record.device_id, shown[0]) if shown else ""
        by_certificate = kind == "individual" and method == "x509"
        is_held = enrollment is not None and method == _method_of(enrollment)
        is_told, key = by_certificate or shown is not None, shown[0] if shown and not by_certificate else None
        values: dict[str, Any] = {
            "record": record,
            "device": device,
            "info": info,
            "types": _TYPES,
            "methods": _METHODS,
            "kind": kind,
            "method": method,
            "enrollment": enrollment,
            "held": enrollment.attestation if enrollment is not None else None,
            "is_held": is_held,
            "group": group,
            "has_keys": keys is not None,
            "keys": shown,
            # Squares that we drew.
            "picture": Markup(picture),
            "variables": sample_variables(info, record.device_id, key=key) if is_told else [],
            "edge": edge_config(info, record.device_id, key=key) if is_told and record.is_edge else "",
            "files": files_of(record.device_id),
            "acts": connect_acts(
                info, record.device_id, enrollment, method if kind == "individual" else None, is_held=is_held
            )
            if may_manage
            else [],
            "fields": fields or {},
            "etag": etag_for(fields or {}, problem, enrollment.etag if enrollment is not None else ""),
            "problem": problem,
            "may_manage": may_manage,
            "note": dates_note(_held(enrollment)),
            "now": services.clock.now(),
        }
        status = HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST
        template = "connect/show.html"
        if visit.request.headers.get("hx-target") == "connect":
            template = "connect/panel.html"
        return await self._renderer.long_page(visit, template, status, **values)

    def _device(self, visit: Visit) -> Device:
        return self._services.fleet.get(visit.actor, parse_device_id(visit.path["device_id"]))


def _path(record: DeviceRecord) -> str:
    return f"/devices/{segment(record.device_id)}/connect"


def _method(text: str) -> Method:
    """Raises `Invalid` (`form.method`)."""
    for method in _METHODS:
        if text == method:
            return method
    raise Invalid("form.method", f"{text[:40]!r} is no authentication method; there are {', '.join(_METHODS)}")


def _method_of(enrollment: IndividualEnrollment | None) -> Method:
    match enrollment.attestation if enrollment is not None else None:
        case BySymmetricKey():
            return "symmetricKey"
        case ByTpm():
            return "tpm"
        case _:
            return "x509"


def _held(enrollment: IndividualEnrollment | None) -> list[Certificate]:
    """The certificates of its slots."""
    held = enrollment.attestation if enrollment is not None else None
    if not isinstance(held, ByClientCertificates):
        return []
    return [certificate for certificate in (held.primary, held.secondary) if certificate is not None]
