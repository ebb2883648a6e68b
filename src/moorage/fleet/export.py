"""What an export says of a device beside its record: keys and thumbprints (contract/central.md LST-4).

Of a device with an identity they are the identity's; before that, those of an individual enrollment of its name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from moorage.accounts.model import Actor
from moorage.errors import Invalid
from moorage.fleet.model import DeviceRecord, FleetTables
from moorage.identities.model import Authentication, BySharedKey, ByThumbprint
from moorage.ids import DeviceId, HubId, IdentityName, Secret, Thumbprint, parse_registration_id
from moorage.provisioning.model import Attestation, ByClientCertificates, BySymmetricKey

__all__ = ["Exported", "exported_in", "tell_of_export"]

audit = logging.getLogger("moorage.audit")

Thumbprints = tuple[Thumbprint | None, Thumbprint | None]


class Exported(NamedTuple):
    record: DeviceRecord
    keys: tuple[Secret, Secret] | None
    thumbprints: Thumbprints


def exported_in(tables: FleetTables, hub: HubId, device_ids: Sequence[DeviceId]) -> Iterator[Exported]:
    """Those of the devices that are still there."""
    for record in tables.devices.find_many(hub, device_ids):
        identity = tables.identities.find(hub, IdentityName(record.device_id))
        shown: Authentication | Attestation | None = None if identity is None else identity.authentication
        if identity is None:
            shown = _enrolled(tables, hub, record.device_id)
        yield Exported(record, *_credentials(shown))


def tell_of_export(actor: Actor, hub: HubId, devices: int) -> None:
    """A line of the audit log: keys went out."""
    facts = {"hub": hub, "devices": str(devices), "by": actor.name}
    audit.info(
        "devices.exported hub=%s devices=%s by=%s", *facts.values(), extra={"event": "devices.exported", "facts": facts}
    )


def _enrolled(tables: FleetTables, hub: HubId, device_id: DeviceId) -> Attestation | None:
    try:
        enrollment = tables.individuals.find(hub, parse_registration_id(device_id))
    except Invalid:
        return None
    # Registration ids are one name whatever their case, device ids are not: `pump` has none of the keys of `PUMP`.
    return enrollment.attestation if enrollment is not None and enrollment.for_device == device_id else None


def _credentials(shown: Authentication | Attestation | None) -> tuple[tuple[Secret, Secret] | None, Thumbprints]:
    match shown:
        case BySharedKey(primary, secondary) | BySymmetricKey(primary, secondary):
            return (primary, secondary), (None, None)
        case ByThumbprint(first, second):
            return None, (first, second)
        case ByClientCertificates(first_certificate, second_certificate):
            certificates = (first_certificate, second_certificate)
            first, second = (Thumbprint(each.sha1.upper()) if each is not None else None for each in certificates)
            return None, (first, second)
        case _:
            return None, (None, None)
