"""Our own API under /moorage/v1: what Azure does over AMQP or in its portal, for the hub's owner (decisions W6).

`moorage token` makes the bearer they ask for.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import get_args

from starlette.responses import Response

from moorage.api.certificates import CertificateApi
from moorage.api.policies import policy_routes
from moorage.api.problems import encoded_response, json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.certificates import CA, CA_UPLOAD, CA_WITH_CODE, CAS, PROOF
from moorage.api.schemas.own import ATTEMPTS, ENVIRONMENT, MESSAGE, QUEUED
from moorage.api.schemas.parameters import IF_MATCH
from moorage.api.schemas.words import whole
from moorage.api.services import ApiServices, identity_of
from moorage.api.telemetry import telemetry_routes
from moorage.attempts.model import Attempt
from moorage.certificates.model import Registry
from moorage.dialects.attempts_json import attempt_json
from moorage.dialects.c2d_json import cloud_message_json, parse_draft
from moorage.dialects.json_text import encode_json
from moorage.errors import Invalid
from moorage.ids import parse_thumbprint
from moorage.pki.certificates import Certificate

__all__ = ["own_routes"]

_MAX_ATTEMPTS = 1000
# base64 of the 64 KiB a message may have, in JSON with its properties.
_MAX_MESSAGE_BODY_BYTES = 256 * 1024


def own_routes(services: ApiServices) -> list[Route]:
    api = _Own(services)
    routes = [
        *(
            Route(
                "POST",
                f"{path}/messages/devicebound",
                api.send_message,
                "owner",
                "own",
                summary="Queue a cloud-to-device message; answered once it is on disk.",
                body=MESSAGE,
                answers={201: QUEUED},
                max_body_bytes=_MAX_MESSAGE_BODY_BYTES,
            )
            for path in ("/moorage/v1/devices/{id}", "/moorage/v1/devices/{id}/modules/{module}")
        ),
        *telemetry_routes(services),
        Route(
            "GET",
            "/moorage/v1/attempts",
            api.list_attempts,
            "owner",
            "own",
            summary="Attempts to get in, newest first: what was shown, what was checked, why it was refused.",
            query={
                "device": "Only of this device, registration or module id; where there is none, those that showed a "
                "certificate which names it, whoever they claimed to be.",
                "thumbprint": "Only with this leaf certificate, SHA-1 or SHA-256.",
                "tracking": "Only the one with this tracking id.",
                "limit": whole("At most so many; 20 when not given.", least=1, most=_MAX_ATTEMPTS),
            },
            answers={200: ATTEMPTS},
        ),
        Route(
            "GET",
            "/moorage/v1/env",
            api.environment,
            "owner",
            "own",
            summary="What programs need to reach the hub, keys included; null where there is no such part.",
            answers={200: ENVIRONMENT},
        ),
        *policy_routes(services),
    ]
    for registry in get_args(Registry):
        routes += _certificate_routes(services, registry)
    return routes


def _certificate_routes(services: ApiServices, registry: Registry) -> list[Route]:
    path = f"/moorage/v1/{registry}/certificates"
    api = CertificateApi(services, registry, lambda call: f"/moorage/v1/{registry}", etag_required=False)
    where = "the hub" if registry == "hub" else "provisioning"
    one, change = f"{path}/{{name}}", (IF_MATCH,)
    return [
        Route(
            "GET",
            path,
            api.list,
            "owner",
            "own",
            summary=f"CA certificates registered with {where}.",
            answers={200: CAS},
        ),
        Route("GET", one, api.get, "owner", "own", summary="One of them.", answers={200: CA}),
        Route(
            "PUT",
            one,
            api.put,
            "owner",
            "own",
            summary="Register one, or with If-Match put it in place of another.",
            headers=change,
            body=CA_UPLOAD,
            answers={200: CA},
        ),
        Route(
            "DELETE",
            one,
            api.delete,
            "owner",
            "own",
            summary="Distrust one: what relied on it is cut.",
            headers=change,
            answers={204: None},
        ),
        Route(
            "POST",
            f"{one}/generateVerificationCode",
            api.generate_code,
            "owner",
            "own",
            summary="A new verification code.",
            headers=change,
            answers={200: CA_WITH_CODE},
        ),
        Route(
            "POST",
            f"{one}/verify",
            api.verify,
            "owner",
            "own",
            summary="Prove possession of its key, with a certificate that carries the code.",
            headers=change,
            body=PROOF,
            answers={200: CA},
        ),
    ]


class _Own:
    def __init__(self, services: ApiServices) -> None:
        self._services = services

    async def send_message(self, call: Call) -> Response:
        draft = parse_draft(await call.json_object())
        message = await self._services.messages.enqueue(self._services.hub, identity_of(call), draft)
        return json_response(cloud_message_json(message), 201)

    async def list_attempts(self, call: Call) -> Response:
        device, thumbprint = call.query.get("device"), call.query.get("thumbprint")
        find = partial(
            self._services.attempts.find,
            self._services.hub,
            thumbprint=None if thumbprint is None else parse_thumbprint(thumbprint),
            tracking_id=call.query.get("tracking"),
        )
        limit = call.count("limit", default=20, least=1, most=_MAX_ATTEMPTS)
        attempts = await find(device=device, limit=limit)
        if device is not None and not attempts:
            # A certificate that arrived under another name, among the latest.
            latest = await find(device=None, limit=_MAX_ATTEMPTS)
            attempts = await asyncio.to_thread(lambda: [each for each in latest if _names(each, device)][:limit])
        # Every certificate of every chain is read for it, and each is somebody else's choice.
        parts = await asyncio.to_thread(lambda: [encode_json(attempt_json(each)) for each in attempts])
        return encoded_response(b'{"attempts":[' + b",".join(parts) + b"]}")

    async def environment(self, call: Call) -> Response:
        return json_response(self._services.info().environment())


def _names(attempt: Attempt, common_name: str) -> bool:
    """Whether the leaf that was shown is for `common_name`."""
    # The name is in its bytes as it is, whatever the rest says, unless it is written in an unusual string type.
    if not attempt.chain or common_name.encode() not in attempt.chain[0]:
        return False
    try:
        return Certificate(attempt.chain[0]).common_name() == common_name
    except Invalid:
        return False
