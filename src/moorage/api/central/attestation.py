"""With what one device comes in, over REST: its own enrollment and what the Connect dialog shows (REST-X7 to X11)."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from moorage.api.calls import ActorCall, etag_in, no_content
from moorage.api.central.routing import central_route
from moorage.api.central.services import CentralServices
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.central_groups import ATTESTATION, CREDENTIALS
from moorage.dialects.central_groups import attestation_json, parse_attestation, parse_attestation_change
from moorage.errors import NotFound
from moorage.fleet.model import DeviceRecord
from moorage.ids import parse_device_id
from moorage.provisioning.enrollments import ANY, IfMatch
from moorage.provisioning.model import IndividualEnrollment

__all__ = ["attestation_routes"]

_MEMBERS = ("type", "x509", "symmetricKey", "tpm", "etag")


def attestation_routes(services: CentralServices) -> list[Route]:
    api, one = _Attestations(services), "/devices/{id}/attestation"
    return [
        central_route("GET", one, api.get, "devices.view", "Its own enrollment.", answers={200: ATTESTATION}),
        central_route(
            "PUT",
            one,
            api.put,
            "devices.manage",
            "Give it an enrollment of its own, which beats every group.",
            body=ATTESTATION,
            answers={200: ATTESTATION},
        ),
        central_route(
            "PATCH",
            one,
            api.patch,
            "devices.manage",
            "Change part of it, such as one certificate.",
            body=ATTESTATION,
            answers={200: ATTESTATION},
        ),
        central_route("DELETE", one, api.delete, "devices.manage", "Back to its group.", answers={204: None}),
        central_route(
            "GET",
            "/devices/{id}/credentials",
            api.credentials,
            "devices.manage",
            "The ID scope, and the keys or certificates that it comes in with.",
            answers={200: CREDENTIALS},
        ),
    ]


class _Attestations:
    def __init__(self, services: CentralServices) -> None:
        self._services = services
        self._credentials = services.credentials

    async def get(self, call: ActorCall) -> Response:
        return _answer(call, self._individual(self._record(call)))

    async def put(self, call: ActorCall) -> Response:
        record, body = self._record(call), await call.members(*_MEMBERS)
        draft = parse_attestation(body)
        present = self._credentials.individual(record.device_id)
        if_match: IfMatch = None if present is None else etag_in(call, body) or ANY
        return _answer(call, await self._credentials.put(record, draft, if_match=if_match, by=call.actor.name))

    async def patch(self, call: ActorCall) -> Response:
        record, body = self._record(call), await call.members(*_MEMBERS)
        present = self._individual(record)
        draft = parse_attestation_change(body, present.attestation)
        # What was read just now is what is changed.
        held = etag_in(call, body) or present.etag
        return _answer(call, await self._credentials.put(record, draft, if_match=held, by=call.actor.name))

    async def delete(self, call: ActorCall) -> Response:
        await self._credentials.delete(self._record(call), if_match=etag_in(call, {}) or ANY, by=call.actor.name)
        return no_content()

    async def credentials(self, call: ActorCall) -> Response:
        """Those of its own enrollment, else keys derived from the default group (SAS-4)."""
        record = self._record(call)
        answer: dict[str, Any] = {"idScope": self._services.info().id_scope}
        own = self._credentials.individual(record.device_id)
        if own is not None:
            shown = attestation_json(own.attestation, reveal=True)
            return json_response(answer | {name: value for name, value in shown.items() if name != "type"})
        derived = await self._credentials.derived(record)
        if derived is not None:
            answer["symmetricKey"] = {
                "primaryKey": derived.primary.reveal(),
                "secondaryKey": derived.secondary.reveal(),
            }
        return json_response(answer)

    def _record(self, call: ActorCall) -> DeviceRecord:
        return self._services.fleet.get(call.actor, parse_device_id(call.path["id"])).record

    def _individual(self, record: DeviceRecord) -> IndividualEnrollment:
        found = self._credentials.individual(record.device_id)
        if found is None:
            raise NotFound(
                "enrollment.unknown", f"'{record.device_id}' has no enrollment of its own: it comes in through a group"
            )
        return found


def _answer(call: ActorCall, enrollment: IndividualEnrollment) -> Response:
    """Keys are shown to those who could replace them."""
    return json_response(attestation_json(enrollment.attestation, reveal=call.actor.may("devices.manage")))
