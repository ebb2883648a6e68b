"""Feedback in the service's JSON (contract/services.md 3.5): the same array over HTTP and AMQP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from moorage.dialects.times import format_time
from moorage.hub.feedback import FeedbackRecord, Outcome

__all__ = ["FEEDBACK_TYPE", "feedback_json"]

FEEDBACK_TYPE: Final = "application/vnd.microsoft.iothub.feedback.json"

_DESCRIPTIONS: Final[Mapping[Outcome, str]] = {
    "Success": "Success",
    "Expired": "The message expired before the device took it",
    "DeliveryCountExceeded": "The message was given out as often as it may be",
    "Rejected": "The device rejected the message",
    "Purged": "The message was purged from the device's queue",
}


def feedback_json(records: Iterable[FeedbackRecord]) -> list[dict[str, Any]]:
    return [_record_json(record) for record in records]


def _record_json(record: FeedbackRecord) -> dict[str, Any]:
    document: dict[str, Any] = {
        "originalMessageId": record.message_id,
        "deviceGenerationId": record.generation_id,
        "deviceId": record.name.device_id,
        "enqueuedTimeUtc": format_time(record.recorded),
        "statusCode": record.outcome,
        "description": _DESCRIPTIONS[record.outcome],
    }
    if record.name.module_id is not None:
        document["moduleId"] = record.name.module_id
    return document
