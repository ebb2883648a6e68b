"""The web hook of an enrollment with the whole of its URL, over our REST.

What Azure shows of it ends in four stars, which hide a key. Somebody who compares what is there with what should be
there, or moves it to another hub, has to see all of it: the owner may.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.words import members, named, text
from moorage.errors import NotFound
from moorage.ids import parse_enrollment_group_id, parse_registration_id
from moorage.provisioning.enrollments import EnrollmentService
from moorage.provisioning.model import Enrollment

__all__ = ["enrollment_webhook_routes"]

_WEBHOOK: Final = named("Webhook", members({"webhookUrl": text("With its query."), "apiVersion": text()}))


def enrollment_webhook_routes(enrollments: EnrollmentService) -> list[Route]:
    """Routes for the owner. Refused with `enrollment.no_webhook` where none is named."""

    async def of_individual(call: Call) -> Response:
        return _answer(enrollments.get_individual(parse_registration_id(call.path["id"])), call)

    async def of_group(call: Call) -> Response:
        return _answer(enrollments.get_group(parse_enrollment_group_id(call.path["id"])), call)

    return [
        Route(
            "GET",
            f"/moorage/v1/{collection}/{{id}}/webhook",
            handler,
            "owner",
            "own",
            summary="The web hook that places devices, key included.",
            answers={200: _WEBHOOK},
        )
        for collection, handler in (("enrollments", of_individual), ("enrollment-groups", of_group))
    ]


def _answer(enrollment: Enrollment, call: Call) -> Response:
    hook = enrollment.custom_allocation
    if hook is None:
        raise NotFound("enrollment.no_webhook", f"the enrollment {call.path['id']!r} names no web hook")
    return json_response({"webhookUrl": hook.webhook_url.reveal(), "apiVersion": hook.api_version})
