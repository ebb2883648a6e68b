"""Feedback over HTTP (contract/services.md 2.2).

The published description names no header for the lock token. Here it is the ETag, as the device's own HTTP operations
have it for messages, and beside it `iothub-locktoken`.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from moorage.api.routing import Call, Gate, Route
from moorage.api.schemas.words import TIME, Content, list_of, members, text
from moorage.dialects.feedback_json import FEEDBACK_TYPE, feedback_json
from moorage.dialects.json_text import encode_json
from moorage.hub.feedback import FeedbackService
from moorage.ids import HubId

__all__ = ["feedback_routes"]

_SERVICE: Gate = frozenset({"ServiceConnect"})
_PATH: Final = "/messages/serviceBound/feedback"
_BATCH: Final = Content(
    FEEDBACK_TYPE,
    list_of(
        members(
            {
                "originalMessageId": text(),
                "deviceId": text(),
                "deviceGenerationId": text(),
                "enqueuedTimeUtc": TIME,
                "statusCode": text("Success, Expired, DeliveryCountExceeded, Rejected or Purged."),
                "description": text(),
            },
            {"moduleId": text()},
        )
    ),
)


def feedback_routes(hub: HubId, feedback: FeedbackService) -> list[Route]:
    api = _Feedback(hub, feedback)
    return [
        Route(
            "GET",
            _PATH,
            api.receive,
            _SERVICE,
            "registry",
            summary="What became of messages to devices: a batch, held for a minute; 204 when there is none.",
            answers={200: _BATCH, 204: None},
            answer_headers=("etag", "iothub-locktoken"),
        ),
        Route(
            "DELETE",
            f"{_PATH}/{{lock}}",
            api.complete,
            _SERVICE,
            "registry",
            summary="The batch was dealt with; it is not given out again.",
            answers={204: None},
        ),
        Route(
            "POST",
            f"{_PATH}/{{lock}}/abandon",
            api.abandon,
            _SERVICE,
            "registry",
            summary="Give the batch back, to be given out again.",
            answers={204: None},
        ),
    ]


class _Feedback:
    def __init__(self, hub: HubId, feedback: FeedbackService) -> None:
        self._hub = hub
        self._feedback = feedback

    async def receive(self, call: Call) -> Response:
        batch = await self._feedback.take(self._hub)
        if batch is None:
            return Response(status_code=204)
        headers = {"etag": f'"{batch.lock}"', "iothub-locktoken": batch.lock}
        return Response(encode_json(feedback_json(batch.records)), headers=headers, media_type=FEEDBACK_TYPE)

    async def complete(self, call: Call) -> Response:
        await self._feedback.complete(self._hub, call.path["lock"].strip('"'))
        return Response(status_code=204)

    async def abandon(self, call: Call) -> Response:
        await self._feedback.abandon(self._hub, call.path["lock"].strip('"'))
        return Response(status_code=204)
