"""Individual enrollments, enrollment groups and registrations (ports in `provisioning/model.py`).

An attestation lies in two columns: `attestation` is JSON with its kind and all that is public (certificates as base64
of their DER), `sealed` holds the keys of a symmetric one.
"""

from __future__ import annotations

import sqlite3
from base64 import b64decode, b64encode
from typing import Any

import sqlalchemy as sa

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.sealing import Sealer
from moorage.adapters.sqlite.statements import compile_sql, delete_by, limited, parameter, select_by, upsert
from moorage.adapters.sqlite.values import (
    fold,
    from_json,
    from_micros,
    maybe_from_micros,
    maybe_to_micros,
    to_json,
    to_micros,
)
from moorage.ids import CAName, DeviceId, EnrollmentGroupId, HubId, RegistrationId, Secret
from moorage.pki.certificates import Certificate
from moorage.provisioning.model import (
    Attestation,
    ByCAReferences,
    ByClientCertificates,
    BySigningCertificates,
    BySymmetricKey,
    ByTpm,
    CustomAllocation,
    Enrollment,
    EnrollmentGroup,
    IndividualEnrollment,
    Registration,
    Reprovisioning,
    SigningCertificate,
)

__all__ = ["Groups", "Individuals", "Registrations"]


_WEBHOOK = "webhook"


class _EnrollmentSQL:
    """The statements that individuals and groups share."""

    def __init__(self, table: sa.Table) -> None:
        c = table.c
        columns = [column for column in c if column.name not in ("hub_id", "key")]
        self.find = select_by(table, columns, "hub_id", "key")
        self.all = compile_sql(
            limited(
                sa.select(*columns).where(c.hub_id == parameter("hub_id"), c.key > parameter("after")).order_by(c.key)
            ),
            "hub_id",
            "after",
            "limit",
        )
        self.count = compile_sql(sa.select(sa.func.count()).where(c.hub_id == parameter("hub_id")), "hub_id")
        self.put = upsert(table)
        self.delete = delete_by(table, "hub_id", "key")


_INDIVIDUALS = _EnrollmentSQL(schema.individual_enrollments)
_GROUPS = _EnrollmentSQL(schema.enrollment_groups)


class Individuals:
    """Port: `provisioning.model.IndividualTable`. `all` is in order of the folded ids, `after` one of them."""

    __slots__ = ("_connection", "_sealer")

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer

    def find(self, hub: HubId, registration_id: RegistrationId) -> IndividualEnrollment | None:
        row = self._connection.execute(_INDIVIDUALS.find, (hub, fold(registration_id))).fetchone()
        return None if row is None else self._individual(hub, row)

    def all(self, hub: HubId, limit: int, after: str = "") -> list[IndividualEnrollment]:
        rows = self._connection.execute(_INDIVIDUALS.all, (hub, fold(after), limit)).fetchall()
        return [self._individual(hub, row) for row in rows]

    def count(self, hub: HubId) -> int:
        return int(self._connection.execute(_INDIVIDUALS.count, (hub,)).fetchone()[0])

    def put(self, enrollment: IndividualEnrollment) -> None:
        information = enrollment.device_information
        self._connection.execute(
            _INDIVIDUALS.put,
            (
                *_shared_row(enrollment, "individual_enrollments", enrollment.registration_id, self._sealer),
                enrollment.device_id,
                None if information is None else to_json(information),
            ),
        )

    def delete(self, hub: HubId, registration_id: RegistrationId) -> None:
        self._connection.execute(_INDIVIDUALS.delete, (hub, fold(registration_id)))

    def _individual(self, hub: HubId, row: tuple[Any, ...]) -> IndividualEnrollment:
        *shared, device_id, information = row
        return IndividualEnrollment(
            **_shared_fields(hub, "individual_enrollments", shared, self._sealer),
            registration_id=RegistrationId(shared[0]),
            device_id=None if device_id is None else DeviceId(device_id),
            device_information=None if information is None else from_json(information),
        )


class Groups:
    """Port: `provisioning.model.GroupTable`. `all` is in order of the folded ids, `after` one of them."""

    __slots__ = ("_connection", "_sealer")

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer

    def find(self, hub: HubId, group_id: EnrollmentGroupId) -> EnrollmentGroup | None:
        row = self._connection.execute(_GROUPS.find, (hub, fold(group_id))).fetchone()
        return None if row is None else self._group(hub, row)

    def all(self, hub: HubId, limit: int, after: str = "") -> list[EnrollmentGroup]:
        rows = self._connection.execute(_GROUPS.all, (hub, fold(after), limit)).fetchall()
        return [self._group(hub, row) for row in rows]

    def count(self, hub: HubId) -> int:
        return int(self._connection.execute(_GROUPS.count, (hub,)).fetchone()[0])

    def put(self, enrollment: EnrollmentGroup) -> None:
        row = _shared_row(enrollment, "enrollment_groups", enrollment.group_id, self._sealer)
        self._connection.execute(_GROUPS.put, (*row, enrollment.display_name or None))

    def delete(self, hub: HubId, group_id: EnrollmentGroupId) -> None:
        self._connection.execute(_GROUPS.delete, (hub, fold(group_id)))

    def _group(self, hub: HubId, row: tuple[Any, ...]) -> EnrollmentGroup:
        *shared, display_name = row
        return EnrollmentGroup(
            **_shared_fields(hub, "enrollment_groups", shared, self._sealer),
            group_id=EnrollmentGroupId(shared[0]),
            display_name=display_name or "",
        )


def _shared_row(enrollment: Enrollment, table: str, name: str, sealer: Sealer) -> tuple[Any, ...]:
    attestation = enrollment.attestation
    sealed = None
    if isinstance(attestation, BySymmetricKey):
        sealed = sealer.seal(attestation.primary, attestation.secondary, table, enrollment.hub, fold(name))
    webhook = enrollment.custom_allocation
    if webhook is not None:
        # Its query is often a key.
        url = sealer.seal(webhook.webhook_url, Secret(""), table, enrollment.hub, fold(name), _WEBHOOK)
        webhook_url: str | None = b64encode(url).decode()
    else:
        webhook_url = None
    return (
        enrollment.hub,
        fold(name),
        name,
        enrollment.version,
        enrollment.status,
        to_micros(enrollment.created),
        to_micros(enrollment.updated),
        to_json(_public_part(attestation)),
        sealed,
        enrollment.allocation,
        to_json(enrollment.linked_hubs),
        enrollment.reprovisioning.update_hub_assignment,
        enrollment.reprovisioning.migrate_device_data,
        to_json(enrollment.initial_tags),
        to_json(enrollment.initial_desired),
        enrollment.is_edge,
        webhook_url,
        None if webhook is None else webhook.api_version,
    )


def _shared_fields(hub: HubId, table: str, row: Any, sealer: Sealer) -> dict[str, Any]:
    (
        name,
        version,
        status,
        created,
        updated,
        attestation,
        sealed,
        allocation,
        linked_hubs,
        update_hub_assignment,
        migrate_device_data,
        initial_tags,
        initial_desired,
        is_edge,
        webhook_url,
        webhook_api_version,
    ) = row
    return {
        "hub": hub,
        "attestation": (
            _attestation(from_json(attestation))
            if sealed is None
            else BySymmetricKey(*sealer.open(sealed, table, hub, fold(name)))
        ),
        "version": version,
        "created": from_micros(created),
        "updated": from_micros(updated),
        "status": status,
        "allocation": allocation,
        "linked_hubs": tuple(from_json(linked_hubs)),
        "reprovisioning": Reprovisioning(update_hub_assignment == 1, migrate_device_data == 1),
        "initial_tags": from_json(initial_tags),
        "initial_desired": from_json(initial_desired),
        "is_edge": is_edge == 1,
        "custom_allocation": (
            None
            if webhook_url is None
            else CustomAllocation(
                _webhook_url(webhook_url, sealer, table, hub, fold(name), _WEBHOOK), webhook_api_version
            )
        ),
    }


def _webhook_url(text: str, sealer: Sealer, *place: str) -> Secret:
    if "://" in text:
        # As version 2 of the schema kept it. Base64 has no colon.
        return Secret(text)
    return sealer.open(b64decode(text), *place)[0]


def _public_part(attestation: Attestation) -> dict[str, Any]:
    match attestation:
        case BySymmetricKey():
            return {"kind": "symmetric_key"}
        case ByTpm(endorsement_key, storage_root_key):
            return {"kind": "tpm", "endorsement_key": endorsement_key, "storage_root_key": storage_root_key}
        case ByClientCertificates(first, second):
            return {"kind": "client_certificates", "primary": _der_text(first), "secondary": _der_text(second)}
        case BySigningCertificates(upper, lower):
            return {"kind": "signing_certificates", "primary": _signing_json(upper), "secondary": _signing_json(lower)}
        case ByCAReferences(primary, secondary):
            return {"kind": "ca_references", "primary": primary, "secondary": secondary}


def _attestation(public: dict[str, Any]) -> Attestation:
    match public:
        case {"kind": "tpm", "endorsement_key": endorsement_key, "storage_root_key": storage_root_key}:
            return ByTpm(endorsement_key, storage_root_key)
        case {"kind": "client_certificates", "primary": primary, "secondary": secondary}:
            return ByClientCertificates(_certificate(primary), _certificate(secondary))
        case {"kind": "signing_certificates", "primary": primary, "secondary": secondary}:
            return BySigningCertificates(_signing_certificate(primary), _signing_certificate(secondary))
        case {"kind": "ca_references", "primary": primary, "secondary": secondary}:
            return ByCAReferences(_ca_name(primary), _ca_name(secondary))
    raise ValueError(f"a stored attestation of no known kind: {public.get('kind')!r}")


def _der_text(certificate: Certificate | None) -> str | None:
    return None if certificate is None else b64encode(certificate.der).decode()


def _certificate(der_text: str | None) -> Certificate | None:
    return None if der_text is None else Certificate(b64decode(der_text))


def _ca_name(name: str | None) -> CAName | None:
    return None if name is None else CAName(name)


def _signing_json(slot: SigningCertificate | None) -> dict[str, Any] | None:
    if slot is None:
        return None
    return {
        "certificate": _der_text(slot.certificate),
        "proof": slot.proof,
        "code": slot.code,
        "code_expires": maybe_to_micros(slot.code_expires),
    }


def _signing_certificate(slot: dict[str, Any] | None) -> SigningCertificate | None:
    if slot is None:
        return None
    certificate = Certificate(b64decode(slot["certificate"]))
    return SigningCertificate(certificate, slot["proof"], slot["code"], maybe_from_micros(slot["code_expires"]))


_R = schema.registrations.c
_REGISTRATION = [column for column in schema.registrations.c if column.name not in ("hub_id", "key", "group_key")]
_FIND_REGISTRATION = select_by(schema.registrations, _REGISTRATION, "hub_id", "key")
_OF_GROUP = compile_sql(
    limited(
        sa.select(*_REGISTRATION)
        .where(_R.hub_id == parameter("hub_id"), _R.group_key == parameter("group_key"), _R.key > parameter("after"))
        .order_by(_R.key)
    ),
    "hub_id",
    "group_key",
    "after",
    "limit",
)
_PUT_REGISTRATION = upsert(schema.registrations)
_DELETE_REGISTRATION = delete_by(schema.registrations, "hub_id", "key")


class Registrations:
    """Port: `provisioning.model.RegistrationTable`. `list_of_group` is in order of the folded ids."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, registration_id: RegistrationId) -> Registration | None:
        row = self._connection.execute(_FIND_REGISTRATION, (hub, fold(registration_id))).fetchone()
        return None if row is None else _registration(hub, *row)

    def list_of_group(self, hub: HubId, group_id: EnrollmentGroupId, limit: int, after: str = "") -> list[Registration]:
        rows = self._connection.execute(_OF_GROUP, (hub, fold(group_id), fold(after), limit)).fetchall()
        return [_registration(hub, *row) for row in rows]

    def put(self, registration: Registration) -> None:
        group_id = registration.group_id
        self._connection.execute(
            _PUT_REGISTRATION,
            (
                registration.hub,
                fold(registration.registration_id),
                registration.registration_id,
                registration.operation_id,
                registration.status,
                to_micros(registration.created),
                to_micros(registration.updated),
                registration.version,
                registration.attestation_kind,
                None if group_id is None else fold(group_id),
                group_id,
                registration.substatus,
                registration.assigned_hub,
                registration.device_id,
                registration.error_code,
                registration.error_message,
                None if registration.payload is None else to_json(registration.payload),
                None if registration.request_payload is None else to_json(registration.request_payload),
            ),
        )

    def delete(self, hub: HubId, registration_id: RegistrationId) -> None:
        self._connection.execute(_DELETE_REGISTRATION, (hub, fold(registration_id)))


def _registration(hub: HubId, *row: Any) -> Registration:
    (
        registration_id,
        operation_id,
        status,
        created,
        updated,
        version,
        attestation_kind,
        group_id,
        substatus,
        assigned_hub,
        device_id,
        error_code,
        error_message,
        payload,
        request_payload,
    ) = row
    return Registration(
        hub,
        registration_id,
        operation_id,
        status,
        from_micros(created),
        from_micros(updated),
        version,
        attestation_kind,
        group_id,
        substatus,
        assigned_hub,
        device_id,
        error_code,
        error_message,
        None if payload is None else from_json(payload),
        None if request_payload is None else from_json(request_payload),
    )
