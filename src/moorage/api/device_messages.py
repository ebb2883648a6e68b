"""Messages over the HTTPS device API: telemetry in, and messages to devices out (contract/devices.md 5).

Telemetry is answered when it is on disk, so a request waits for its batch as a PUBACK does; a disk that is behind is
503 with `retry-after`. A message to a device is held under a lock, which is its ETag, until the device says what
becomes of it. Answers without a body are 204 and nothing else: C takes no other.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from starlette.responses import Response

from moorage.api.device_door import DeviceDoor
from moorage.api.routing import Call, Route
from moorage.api.schemas.device_messages import BATCH_OR_BODY, BODY
from moorage.dialects.device_http import BATCH_TYPE, Telemetry, bag_of, check_size, message_headers, parse_batch
from moorage.dialects.mqtt_hub import bag_size
from moorage.dialects.telemetry_source import telemetry_source
from moorage.errors import PreconditionFailed, Refusal
from moorage.hub.message_locks import LOCK, MessageLocks
from moorage.hub.telemetry import TelemetryIntake
from moorage.hub.telemetry_log import partition_of
from moorage.identities.credentials import AuthenticatedIdentity

__all__ = ["DeviceMessageParts", "device_message_routes"]

# A batch of 256 KiB in base64, with the names around it.
_MAX_REQUEST_BYTES: Final = 1024 * 1024
# Beyond it, JSON and base64 take the loop's time (decisions S8).
_LARGE_BYTES: Final = 32 * 1024
# What `iothub-messagelocktimeout` may ask for, in seconds.
_LOCKS_S: Final = (5, 300)


@dataclass(frozen=True, slots=True)
class DeviceMessageParts:
    """What these operations need of the hub."""

    door: DeviceDoor
    telemetry: TelemetryIntake
    locks: MessageLocks
    partitions: int


def device_message_routes(parts: DeviceMessageParts) -> list[Route]:
    """Those of devices, and the same of modules."""
    api = _DeviceMessages(parts)
    return [
        route
        for who, path in (("device", "/devices/{id}"), ("module", "/devices/{id}/modules/{module}"))
        for route in _routes(api, path, who)
    ]


def _routes(api: _DeviceMessages, path: str, who: str) -> list[Route]:
    bound = f"{path}/messages/devicebound"
    return [
        Route(
            "POST",
            f"{path}/messages/events",
            api.send,
            "device",
            "device",
            summary=f"Telemetry of a {who}: one message, or a batch by its content type; answered once it is durable.",
            body=BATCH_OR_BODY,
            body_needed=False,
            answers={204: None},
            max_body_bytes=_MAX_REQUEST_BYTES,
        ),
        Route(
            "GET",
            bound,
            api.receive,
            "device",
            "device",
            summary=f"The oldest message that waits for a {who}, held for a minute; 204 when there is none.",
            headers=("iothub-messagelocktimeout",),
            answers={200: BODY, 204: None},
            answer_headers=("etag", "iothub-messageid", "iothub-sequencenumber", "iothub-deliverycount"),
        ),
        Route(
            "DELETE",
            f"{bound}/{{lock}}",
            api.settle,
            "device",
            "device",
            summary="The message was taken, or, with `reject`, is not wanted.",
            query={"reject": "Not wanted; any value but false."},
            headers=("if-match",),
            answers={204: None},
        ),
        Route(
            "POST",
            f"{bound}/{{lock}}/abandon",
            api.abandon,
            "device",
            "device",
            summary="Give the message back, to be given out again.",
            answers={204: None},
        ),
    ]


class _DeviceMessages:
    def __init__(self, parts: DeviceMessageParts) -> None:
        self._parts = parts

    async def send(self, call: Call) -> Response:
        who = self._parts.door.admit(call)
        await self._store(who, await _messages(call))
        return Response(status_code=204)

    async def receive(self, call: Call) -> Response:
        parts = self._parts
        who = parts.door.admit(call)
        held = parts.locks.take(parts.door.hub, who.identity.name, _lock_time(call))
        if held is None:
            return Response(status_code=204)
        headers = message_headers(held.message, held.lock)
        return Response(held.message.body, headers=headers, media_type="application/octet-stream")

    async def settle(self, call: Call) -> Response:
        parts = self._parts
        who = parts.door.admit(call)
        reject = call.query.get("reject")
        done = parts.locks.complete if reject is None or reject.lower() == "false" else parts.locks.reject
        await done(parts.door.hub, who.identity.name, _lock(call))
        return Response(status_code=204)

    async def abandon(self, call: Call) -> Response:
        parts = self._parts
        who = parts.door.admit(call)
        await parts.locks.abandon(parts.door.hub, who.identity.name, _lock(call))
        return Response(status_code=204)

    async def _store(self, who: AuthenticatedIdentity, messages: list[Telemetry]) -> None:
        """Return when all are on disk. Raises `Unavailable` (`log.*`), after which some may be."""
        intake = self._parts.telemetry
        source = telemetry_source(who)
        partition = partition_of(who.identity.name.device_id, self._parts.partitions)
        waiting = _Waiting(len(messages))
        try:
            for message in messages:
                intake.accept(waiting, source, partition, message.bag, message.body, acknowledge=True)
            await waiting.done
        finally:
            waiting.done.cancel()
            intake.forget(waiting)


class _Waiting:
    """A request that waits for its messages to be durable (`hub.telemetry.Sender`)."""

    __slots__ = ("_left", "done")

    def __init__(self, count: int) -> None:
        self._left = count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def telemetry_durable(self, count: int) -> None:
        self._left -= count
        if self._left <= 0 and not self.done.done():
            self.done.set_result(None)

    def telemetry_failed(self, refusal: Refusal) -> None:
        if not self.done.done():
            self.done.set_exception(refusal)

    def hold_reading(self, hold: bool) -> None:
        """One request waits for one answer: nothing more is read meanwhile."""


async def _messages(call: Call) -> list[Telemetry]:
    body = await call.body()
    media_type = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == BATCH_TYPE:
        return await asyncio.to_thread(parse_batch, body) if len(body) > _LARGE_BYTES else parse_batch(body)
    bag = bag_of(_headers_as_sent(call))
    check_size(bag_size(bag) + len(body))
    return [Telemetry(bag, body)]


def _headers_as_sent(call: Call) -> list[tuple[str, str]]:
    """With their names in the case that the device gave them, where the server kept it: they name properties."""
    scope = call.request.scope
    kept: list[tuple[bytes, bytes]] = scope.get("extensions", {}).get("moorage.http", {}).get("raw_headers")
    return [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in kept or scope["headers"]]


def _lock(call: Call) -> str:
    """The lock token of the path. Raises `PreconditionFailed` (`message.lock_lost`) where If-Match has another."""
    lock = call.path["lock"].strip('"')
    held = call.request.headers.get("if-match", "").strip().strip('"')
    if held not in ("", "*", lock):
        raise PreconditionFailed("message.lock_lost", "If-Match has another lock token than the path")
    return lock


def _lock_time(call: Call) -> timedelta:
    asked = call.request.headers.get("iothub-messagelocktimeout", "")
    if not (asked.isascii() and asked.isdigit()) or len(asked) > 6:
        return LOCK
    least, most = _LOCKS_S
    return timedelta(seconds=min(max(int(asked), least), most))
