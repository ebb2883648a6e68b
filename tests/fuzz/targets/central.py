"""Bodies and queries of the Central API: one text, given to everything that reads such a one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from moorage.accounts.model import OrganizationId
from moorage.dialects.central_capabilities import parse_command
from moorage.dialects.central_dashboards import parse_tiles
from moorage.dialects.central_device_groups import parse_device_group, parse_organizations
from moorage.dialects.central_devices import parse_device_body
from moorage.dialects.central_groups import (
    parse_attestation,
    parse_attestation_change,
    parse_certificate_text,
    parse_group_change,
    parse_upload,
)
from moorage.dialects.central_jobs import parse_job, parse_schedule
from moorage.dialects.central_people import parse_assignment, parse_expiry
from moorage.dialects.json_text import parse_json
from moorage.dialects.odata import parse_filter, parse_order
from moorage.dialects.times import parse_typed_time
from moorage.errors import Invalid, Refusal
from moorage.ids import DeviceId, EnrollmentGroupId, Secret
from moorage.provisioning.model import BySymmetricKey
from tests.fuzz.targets.model import Target

__all__ = ["TARGETS"]

Body = Mapping[str, Any]

_ROOT: Final = OrganizationId("")
_FIELDS: Final = ("id", "displayName", "enabled", "provisioned", "simulated", "template")
_STORED: Final = BySymmetricKey(Secret("cHVtcHVtcHVtcHVtcHVtcHU="), Secret("cHVtcHVtcHVtcHVtcHVtcHU="))

_READERS: Final[tuple[Callable[[Body], object], ...]] = (
    parse_command,
    lambda body: parse_tiles(body.get("tiles"), lambda _group, path: ("", path)),
    lambda body: parse_device_group("pumps", body, default=_ROOT),
    parse_organizations,
    lambda body: parse_device_body(DeviceId("pump-01"), body),
    lambda body: parse_group_change(EnrollmentGroupId("pumps"), body),
    parse_upload,
    parse_certificate_text,
    parse_attestation,
    lambda body: parse_attestation_change(body, _STORED),
    lambda body: parse_job("job-1", body, default=_ROOT),
    parse_schedule,
    parse_assignment,
    parse_expiry,
)


def _check_bodies(data: bytes) -> None:
    try:
        body = parse_json(data, what="the body")
    except Invalid:
        return
    for read in _READERS if isinstance(body, dict) else ():
        try:
            read(body)
        except Refusal as refusal:
            assert "." in refusal.reason, refusal


def _check_queries(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    readers: tuple[Callable[[], object], ...] = (
        lambda: parse_filter(text, _FIELDS),
        lambda: parse_order(text, _FIELDS),
        lambda: parse_typed_time(text, what="the time"),
    )
    for read in readers:
        try:
            read()
        except Invalid as refusal:
            assert refusal.reason in ("odata.filter", "odata.orderby", "time.malformed"), refusal


def _body_seeds() -> Iterable[bytes]:
    keys = {"primaryKey": "cHVtcHVtcHVtcHVtcHVtcHU=", "secondaryKey": "cHVtcHVtcHVtcHVtcHVtcHU="}
    chart = {"type": "lineChart", "group": "pumps", "capabilities": [{"capability": "a.b", "aggregateFunction": "max"}]}
    data = [{"type": "property", "target": "dtmi:a:b;1", "path": "a.b", "value": 1}]
    for body in (
        {"displayName": "Pump", "template": "dtmi:a:b;1", "enabled": True, "simulated": False, "organizations": ["a"]},
        {"type": "symmetricKey", "symmetricKey": keys},
        {"displayName": "Pumps", "type": "iot", "attestation": {"type": "x509"}, "enabled": True, "etag": '"1"'},
        {"certificate": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "verified": True},
        {"displayName": "G", "filter": 'SELECT * FROM devices WHERE $template = "dtmi:a:b;1"', "organizations": ["a"]},
        {"group": "g", "data": data, "batch": {"value": 1, "type": "number"}, "cancellationThreshold": {"value": 5}},
        {"schedule": {"start": "2026-01-01T00:00:00Z", "recurrence": "daily", "end": {"type": "occurrences"}}},
        {"roles": [{"role": "ca310b8d-2f4a-44e0-a36e-957c202cd8d4", "organization": "a"}], "expiry": "2030-01-01"},
        {"request": {"since": "now"}, "connectionTimeout": 5, "responseTimeout": 30},
        {"tiles": [{"displayName": "T", "configuration": chart, "x": 0, "y": 0, "width": 4, "height": 2}]},
    ):
        yield json.dumps(body).encode()


def _query_seeds() -> Iterable[bytes]:
    yield b"displayName eq 'Pump' and (enabled eq true or not simulated)"
    yield b"indexof(id, 'pump') ge 0"
    yield b"displayName desc"
    yield b"2026-01-01T10:30"


TARGETS: Final = (
    Target(
        "central_bodies", _check_bodies, _body_seeds, (b'"type":', b"null", b"[[", b'{"', b"1e308"), 4096, is_json=True
    ),
    Target("central_queries", _check_queries, _query_seeds, (b" eq ", b" and ", b"(", b"'", b"indexof("), 2048),
)
