"""The certificate of one device: what it showed last, what lets it in, and when that ends."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from moorage.identities.model import ByAuthority, ByThumbprint, Identity
from moorage.ids import IdentityName
from moorage.pki.certificates import Certificate
from moorage.provisioning.model import ByClientCertificates
from moorage.web.device_page import DevicePage
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["device_certificate_pages"]


@dataclass(frozen=True, slots=True)
class _Slot:
    """A certificate that is enrolled; `is_shown` when it is the one that the device showed last."""

    name: str
    certificate: Certificate
    is_shown: bool


def device_certificate_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _DeviceCertificate(services, renderer)
    return [Page("GET", "/devices/{device_id}/certificate", pages.show, "certificates.view")]


class _DeviceCertificate:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._page = DevicePage(services, renderer)

    async def show(self, visit: Visit) -> Response:
        model = self._page.find(visit)
        record = model.device.record
        found = await self._services.sightings.find(IdentityName(record.device_id))
        shown, path = found if found is not None else (None, None)
        enrollment = self._services.credentials.individual(record.device_id)
        held = enrollment.attestation if enrollment is not None else None
        slots: list[_Slot] = []
        if isinstance(held, ByClientCertificates):
            slots = [
                _Slot(name, certificate, shown is not None and certificate.sha256 == shown.thumbprint)
                for name, certificate in (("Primary", held.primary), ("Secondary", held.secondary))
                if certificate is not None
            ]
        return await self._page.page(
            visit,
            model,
            "device/certificate.html",
            tab="certificate",
            shown=shown,
            signers=path.certificates if path is not None else (),
            slots=slots,
            lets_in=_lets_in(model.device.identity, bool(slots)),
        )


def _lets_in(identity: Identity | None, is_enrolled: bool) -> str:
    """What the hub asks of its next connection."""
    match identity.authentication if identity is not None else None:
        case ByThumbprint():
            return "Its thumbprint, enrolled below." if is_enrolled else "Its thumbprint, which the hub knows."
        case ByAuthority(enrollment_group=None):
            return "A CA that is registered at the hub."
        case ByAuthority(enrollment_group=group):
            return f"The certificates of the group {group}."
        case None:
            return "Nothing yet: it has not registered."
        case _:
            return "A key, and no certificate."
