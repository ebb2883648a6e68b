"""CRL issuers and their lists. Port: `certificates.revocation_model.RevocationTable`."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.statements import compile_sql, delete_by, parameter, select_by, upsert
from moorage.adapters.sqlite.values import from_micros, maybe_from_micros, maybe_to_micros, to_micros
from moorage.certificates.revocation_model import CRLIssuer, CRLIssuerId, OcspRevocation, StoredList
from moorage.ids import HubId, Thumbprint
from moorage.pki.certificates import Certificate
from moorage.pki.revocation import Revoked

__all__ = ["RevocationRows"]

_I = schema.crl_issuers.c
_L = schema.revocation_lists.c
_P = schema.revocation_list_parts.c
_ISSUER_VALUES = [column for column in schema.crl_issuers.c if column.name != "hub_id"]
_LIST_VALUES = [column for column in schema.revocation_lists.c if column.name != "hub_id"]
_FIND_ISSUER = select_by(schema.crl_issuers, _ISSUER_VALUES, "hub_id", "issuer_id")
_ALL_ISSUERS = compile_sql(
    sa.select(*_ISSUER_VALUES).where(_I.hub_id == parameter("hub_id")).order_by(_I.issuer_id), "hub_id"
)
_PUT_ISSUER = upsert(schema.crl_issuers)
_DELETE_ISSUER = delete_by(schema.crl_issuers, "hub_id", "issuer_id")
_ALL_LISTS = compile_sql(
    sa.select(*_LIST_VALUES).where(_L.hub_id == parameter("hub_id")).order_by(_L.list_id), "hub_id"
)
_PUT_LIST = upsert(schema.revocation_lists)
_DELETE_LIST = delete_by(schema.revocation_lists, "hub_id", "list_id")
_PUT_PART = upsert(schema.revocation_list_parts)
_PARTS = compile_sql(
    sa.select(_P.data).where(_P.hub_id == parameter("hub_id"), _P.list_id == parameter("list_id")).order_by(_P.part),
    "hub_id",
    "list_id",
)
_PARTS_SIZE = compile_sql(
    sa.select(sa.func.coalesce(sa.func.sum(sa.func.length(_P.data)), sa.literal_column("0"))).where(
        _P.hub_id == parameter("hub_id"), _P.list_id == parameter("list_id")
    ),
    "hub_id",
    "list_id",
)
_DELETE_PARTS = delete_by(schema.revocation_list_parts, "hub_id", "list_id")
_DELETE_ORPHANS = compile_sql(
    sa.delete(schema.revocation_list_parts).where(
        _P.hub_id == parameter("hub_id"),
        ~sa.exists().where(_L.hub_id == _P.hub_id, _L.list_id == _P.list_id),
    ),
    "hub_id",
)
_O = schema.ocsp_revocations.c
_ALL_OCSP = select_by(
    schema.ocsp_revocations, [column for column in schema.ocsp_revocations.c if column.name != "hub_id"], "hub_id"
)
_PUT_OCSP = upsert(schema.ocsp_revocations)
_DELETE_OCSP_ONE = delete_by(schema.ocsp_revocations, "hub_id", "issuer", "serial")
_DELETE_OCSP = compile_sql(
    sa.delete(schema.ocsp_revocations).where(_O.hub_id == parameter("hub_id"), _O.until < parameter("until")),
    "hub_id",
    "until",
)


class RevocationRows:
    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find_issuer(self, hub: HubId, issuer_id: CRLIssuerId) -> CRLIssuer | None:
        row = self._connection.execute(_FIND_ISSUER, (hub, issuer_id)).fetchone()
        return None if row is None else _issuer(hub, *row)

    def issuers(self, hub: HubId) -> list[CRLIssuer]:
        return [_issuer(hub, *row) for row in self._connection.execute(_ALL_ISSUERS, (hub,))]

    def put_issuer(self, issuer: CRLIssuer) -> None:
        self._connection.execute(
            _PUT_ISSUER,
            (
                issuer.hub,
                issuer.issuer_id,
                issuer.certificate.der,
                issuer.policy,
                issuer.crl_url,
                issuer.ocsp_url,
                maybe_to_micros(issuer.fetched),
                issuer.failed,
                issuer.failures,
                maybe_to_micros(issuer.next_fetch),
                issuer.etag,
            ),
        )

    def delete_issuer(self, hub: HubId, issuer_id: CRLIssuerId) -> None:
        self._connection.execute(_DELETE_ISSUER, (hub, issuer_id))

    def lists(self, hub: HubId) -> list[StoredList]:
        return [_list(hub, *row) for row in self._connection.execute(_ALL_LISTS, (hub,))]

    def put_list(self, stored: StoredList) -> None:
        self._connection.execute(
            _PUT_LIST,
            (
                stored.hub,
                stored.list_id,
                stored.issuer_id,
                stored.slot,
                stored.kind,
                # Up to 20 bytes: more than SQLite's integers hold.
                str(stored.number),
                to_micros(stored.this_update),
                to_micros(stored.next_update),
                stored.entries,
                stored.signer.der,
                to_micros(stored.added),
            ),
        )

    def delete_list(self, hub: HubId, list_id: str) -> None:
        self._connection.execute(_DELETE_LIST, (hub, list_id))
        self._connection.execute(_DELETE_PARTS, (hub, list_id))

    def put_part(self, hub: HubId, list_id: str, number: int, data: bytes) -> None:
        self._connection.execute(_PUT_PART, (hub, list_id, number, data))

    def packed(self, hub: HubId, list_id: str) -> bytes:
        return b"".join(data for (data,) in self._connection.execute(_PARTS, (hub, list_id)))

    def ocsp_revocations(self, hub: HubId) -> list[OcspRevocation]:
        return [
            OcspRevocation(
                hub, Thumbprint(issuer), int(serial), Revoked(reason, from_micros(date), source), from_micros(until)
            )
            for issuer, serial, reason, date, source, until in self._connection.execute(_ALL_OCSP, (hub,))
        ]

    def put_ocsp_revocation(self, found: OcspRevocation) -> None:
        revoked = found.revoked
        self._connection.execute(
            _PUT_OCSP,
            (
                found.hub,
                found.issuer,
                str(found.serial),
                revoked.reason,
                to_micros(revoked.date),
                revoked.source,
                to_micros(found.until),
            ),
        )

    def delete_ocsp_revocation(self, hub: HubId, issuer: Thumbprint, serial: int) -> None:
        self._connection.execute(_DELETE_OCSP_ONE, (hub, issuer, str(serial)))

    def delete_ocsp_revocations(self, hub: HubId, before: datetime) -> None:
        self._connection.execute(_DELETE_OCSP, (hub, to_micros(before)))

    def packed_size(self, hub: HubId, list_id: str) -> int:
        return int(self._connection.execute(_PARTS_SIZE, (hub, list_id)).fetchone()[0])

    def delete_orphans(self, hub: HubId) -> None:
        self._connection.execute(_DELETE_ORPHANS, (hub,))


def _issuer(hub: HubId, *row: Any) -> CRLIssuer:
    issuer_id, der, policy, crl_url, ocsp_url, fetched, failed, failures, next_fetch, etag = row
    return CRLIssuer(
        hub,
        CRLIssuerId(issuer_id),
        Certificate(der),
        policy,
        crl_url,
        ocsp_url,
        maybe_from_micros(fetched),
        failed,
        failures,
        maybe_from_micros(next_fetch),
        etag,
    )


def _list(hub: HubId, *row: Any) -> StoredList:
    list_id, issuer_id, slot, kind, number, this_update, next_update, entries, signer, added = row
    return StoredList(
        hub,
        list_id,
        CRLIssuerId(issuer_id),
        slot,
        kind,
        int(number),
        from_micros(this_update),
        from_micros(next_update),
        entries,
        Certificate(signer),
        from_micros(added),
    )
