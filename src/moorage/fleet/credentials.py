"""With what one device may register (contract/central.md 4.3): an enrollment of its own, or keys that a group gives it.

    individual enrollment ──deleted──► back to the group

An individual enrollment beats every group. Its registration id is the device id. What it holds is what the hub asks of
the device's next connection too: a certificate that was taken out of a slot opens nothing from then on, whether or not
the device registers again (ROLL-3), and one that was put in opens at once, so that a roll by the second slot never
leaves the device outside (ROLL-4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from moorage.clock import Clock
from moorage.errors import Invalid, NotFound
from moorage.fleet.model import DeviceRecord, FleetTables
from moorage.identities.model import Authentication, BySharedKey, ByThumbprint
from moorage.identities.registry import IdentityDraft, IdentityRegistry
from moorage.ids import DeviceId, EnrollmentGroupId, HubId, IdentityName, RegistrationId, Secret, parse_registration_id
from moorage.pki.certificates import Certificate
from moorage.pki.fixes import new_pinned
from moorage.pki.requirements import Asked, expired, weak_key
from moorage.pki.waivers import Waivers
from moorage.provisioning.attestation import derive_key
from moorage.provisioning.default_groups import DEVICES, EDGE_DEVICES
from moorage.provisioning.drafts import AttestationDraft, CertificatesDraft, IndividualDraft
from moorage.provisioning.enrollments import ANY, EnrollmentService, IfMatch
from moorage.provisioning.model import (
    Attestation,
    ByClientCertificates,
    BySymmetricKey,
    EnrollmentGroup,
    IndividualEnrollment,
)
from moorage.store import Store

__all__ = ["DerivedKeys", "DeviceCredentials", "check_client_certificate"]

# How many groups are looked through when the default one is gone; a provisioning service has 500 at most by default.
_GROUPS: int = 500


@dataclass(frozen=True, slots=True)
class DerivedKeys:
    """What a group of keys gives one device (SAS-3)."""

    group_id: EnrollmentGroupId
    primary: Secret
    secondary: Secret


class DeviceCredentials:
    """Enrollments of single devices, as the Connect dialog and `/devices/{id}/attestation` change them.

    Callers have made sure that whoever asks may see the device (`Fleet.get`).
    """

    def __init__(
        self,
        hub: HubId,
        store: Store[FleetTables],
        enrollments: EnrollmentService,
        registry: IdentityRegistry,
        clock: Clock,
        waivers: Callable[[], Waivers],
    ) -> None:
        self._hub = hub
        self._store = store
        self._enrollments = enrollments
        self._registry = registry
        self._clock = clock
        self._waivers = waivers

    def individual(self, device_id: DeviceId) -> IndividualEnrollment | None:
        """The enrollment under the device's own id, if it is for this device."""
        found = self._store.read().individuals.find(self._hub, RegistrationId(device_id))
        return found if found is not None and found.for_device == device_id else None

    async def derived(self, record: DeviceRecord) -> DerivedKeys | None:
        """Keys from the default group of its kind (SAS-4), else from the first enabled group of keys there is."""
        default = self._store.read().groups.find(self._hub, EDGE_DEVICES if record.is_edge else DEVICES)
        if default is not None and (keys := _derived(default, record)) is not None:
            return keys
        groups = await self._enrollments.list_groups(_GROUPS)
        return next((keys for group in groups if (keys := _derived(group, record)) is not None), None)

    async def put(
        self, record: DeviceRecord, draft: AttestationDraft, *, if_match: IfMatch, by: str
    ) -> IndividualEnrollment:
        """Give the device an enrollment of its own, or change the one it has; what else stands there stays.

        Raises:
            Invalid: `attestation.certificate_*`, `attestation.primary_missing`, `id.registration`, and as
                `EnrollmentService.put_individual`.
            Conflict, PreconditionFailed, NotFound, TooLarge: as that.
        """
        registration_id = parse_registration_id(record.device_id)
        stored = self.individual(record.device_id)
        if isinstance(draft, CertificatesDraft):
            now, waivers = self._clock.now(), self._waivers()
            if draft.primary is None:
                raise Invalid(
                    "attestation.primary_missing",
                    f"the enrollment of '{record.device_id}' has no primary certificate, and one is needed; only the "
                    "secondary may be left out",
                )
            for certificate in (draft.primary, draft.secondary):
                if isinstance(certificate, Certificate):
                    check_client_certificate(certificate, now, waivers)
        wanted = IndividualDraft(attestation=draft, registration_id=registration_id, is_edge=record.is_edge)
        if stored is not None:
            wanted = IndividualDraft(
                attestation=draft,
                registration_id=stored.registration_id,
                device_id=stored.device_id,
                status=stored.status,
                allocation=stored.allocation,
                linked_hubs=stored.linked_hubs,
                reprovisioning=stored.reprovisioning,
                initial_tags=stored.initial_tags,
                initial_desired=stored.initial_desired,
                device_information=stored.device_information,
                is_edge=stored.is_edge,
                custom_allocation=stored.custom_allocation,
            )
        changed = await self._enrollments.put_individual(wanted, if_match=if_match, by=by)
        if stored is not None:
            await self._roll_at_hub(record.device_id, stored.attestation, changed.attestation, by)
        return changed

    async def delete(self, record: DeviceRecord, *, if_match: IfMatch = ANY, by: str) -> None:
        """Back to the groups (REST-X10). What the hub knows of the device stays until it registers again.

        Raises `NotFound` (`enrollment.unknown`), `PreconditionFailed` (`etag.stale`).
        """
        stored = self.individual(record.device_id)
        if stored is None:
            raise NotFound("enrollment.unknown", f"'{record.device_id}' has no enrollment of its own")
        await self._enrollments.delete_individual(stored.registration_id, if_match=if_match, by=by)

    async def _roll_at_hub(self, device_id: DeviceId, before: Attestation, after: Attestation, by: str) -> None:
        """An identity that the enrollment made asks for what the enrollment holds now."""
        name = IdentityName(device_id)
        identity = self._store.read().identities.find(self._hub, name)
        was, becomes = _at_hub(before), _at_hub(after)
        if identity is None or was is None or becomes is None or was == becomes or identity.authentication != was:
            return
        # None as the reason of its status would take away what is there.
        draft = IdentityDraft(name, authentication=becomes, status_reason=identity.status_reason)
        await self._registry.update(self._hub, draft, self._clock.now(), by=by)


def check_client_certificate(certificate: Certificate, now: datetime, waivers: Waivers) -> None:
    """What a certificate has to be to stand in a slot: strong enough, and not over. It is matched by its hash, so its
    names and its issuer do not matter (decisions T3), and one that is not valid yet may wait there for its day.

    Raises `Invalid` (`attestation.certificate_weak`, `attestation.certificate_expired`).
    """
    asked = Asked(now, None, waivers=waivers)
    if (message := weak_key(certificate, asked)) is not None:
        raise Invalid("attestation.certificate_weak", message, fix=new_pinned(certificate, asked))
    if (message := expired(certificate, asked)) is not None:
        raise Invalid("attestation.certificate_expired", message, fix=new_pinned(certificate, asked))


def _derived(group: EnrollmentGroup, record: DeviceRecord) -> DerivedKeys | None:
    """None where the group gives this device nothing: it has no keys, is of the other kind, or is disabled."""
    keys = group.attestation
    if not isinstance(keys, BySymmetricKey) or group.is_edge != record.is_edge or group.status != "enabled":
        return None
    name = RegistrationId(record.device_id)
    return DerivedKeys(group.group_id, derive_key(keys.primary, name), derive_key(keys.secondary, name))


def _at_hub(attestation: Attestation) -> Authentication | None:
    """What a registration through this makes of the device's identity; None where that is not known beforehand."""
    match attestation:
        case ByClientCertificates(primary, secondary):
            return ByThumbprint(primary.sha256 if primary else None, secondary.sha256 if secondary else None)
        case BySymmetricKey(primary_key, secondary_key):
            return BySharedKey(primary_key, secondary_key)
        case _:
            return None
