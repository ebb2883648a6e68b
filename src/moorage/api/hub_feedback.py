"""What waits for back ends, over HTTP: feedback and file notifications (contract/services.md 2.2, 3.5).

The published description names no header for the lock token. Here it is the ETag, as the device's own HTTP operations
have it for messages, and beside it `iothub-locktoken`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from starlette.responses import Response

from moorage.api.routing import Call, Gate, Route
from moorage.api.schemas.files import FILE_NOTIFICATION
from moorage.api.schemas.words import TIME, Content, list_of, members, text
from moorage.dialects.feedback_json import FEEDBACK_TYPE, feedback_json
from moorage.dialects.json_text import encode_json
from moorage.dialects.upload_json import file_notification_json
from moorage.hub.feedback import FeedbackService
from moorage.hub.held_queue import MAX_BATCH, HeldQueue, Record
from moorage.hub.uploads import FileNotificationService
from moorage.ids import HubId

__all__ = ["feedback_routes", "file_notification_routes"]

R = TypeVar("R", bound=Record)

_SERVICE: Gate = frozenset({"ServiceConnect"})
_FEEDBACK: Final = Content(
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
    """What became of messages to devices."""
    queue = _Queue(hub, feedback, feedback_json, FEEDBACK_TYPE, MAX_BATCH)
    about = "What became of messages to devices: a batch, held for a minute; 204 when there is none."
    return _routes(queue, "feedback", about, _FEEDBACK)


def file_notification_routes(hub: HubId, notifications: FileNotificationService) -> list[Route]:
    """Files that devices have uploaded."""
    queue = _Queue(hub, notifications, file_notification_json, FILE_NOTIFICATION.media_type, 1)
    about = "A file that a device has uploaded, told of once and held for a minute; 204 when there is none."
    return _routes(queue, "filenotifications", about, FILE_NOTIFICATION)


def _routes(queue: _Queue[Any], name: str, about: str, content: Content) -> list[Route]:
    path = f"/messages/serviceBound/{name}"
    return [
        Route(
            "GET",
            path,
            queue.receive,
            _SERVICE,
            "registry",
            summary=about,
            answers={200: content, 204: None},
            answer_headers=("etag", "iothub-locktoken"),
        ),
        Route(
            "DELETE",
            f"{path}/{{lock}}",
            queue.complete,
            _SERVICE,
            "registry",
            summary="The batch was dealt with; it is not given out again.",
            answers={204: None},
        ),
        Route(
            "POST",
            f"{path}/{{lock}}/abandon",
            queue.abandon,
            _SERVICE,
            "registry",
            summary="Give the batch back, to be given out again.",
            answers={204: None},
        ),
    ]


class _Queue(Generic[R]):
    def __init__(
        self,
        hub: HubId,
        queue: HeldQueue[Any, R],
        shown: Callable[[Sequence[R]], Any],
        media_type: str,
        at_once: int,
    ) -> None:
        self._hub = hub
        self._queue = queue
        self._shown = shown
        self._media_type = media_type
        self._at_once = at_once

    async def receive(self, call: Call) -> Response:
        batch = await self._queue.take(self._hub, self._at_once)
        if batch is None:
            return Response(status_code=204)
        headers = {"etag": f'"{batch.lock}"', "iothub-locktoken": batch.lock}
        return Response(encode_json(self._shown(batch.records)), headers=headers, media_type=self._media_type)

    async def complete(self, call: Call) -> Response:
        await self._queue.complete(self._hub, call.path["lock"].strip('"'))
        return Response(status_code=204)

    async def abandon(self, call: Call) -> Response:
        await self._queue.abandon(self._hub, call.path["lock"].strip('"'))
        return Response(status_code=204)
