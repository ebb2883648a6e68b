"""Reading and following telemetry: pages of JSON, and server-sent events.

A follower holds a place in the log and nothing else, so a slow one costs nothing. The id of each event is the offset
after its message: a client that reconnects with `Last-Event-ID` misses none and gets none twice. A stream ends with the
credential that it was asked for with, and says where it stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.responses import Response, StreamingResponse

from moorage.api.problems import encoded_response, json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.own import PARTITIONS, TELEMETRY
from moorage.api.schemas.words import EVENTS, whole
from moorage.api.services import ApiServices
from moorage.api.streaming import Lease, encode_refusal
from moorage.dialects.json_text import encode_json
from moorage.dialects.telemetry_json import telemetry_json
from moorage.dialects.times import format_time, parse_time
from moorage.errors import Exhausted, Unavailable
from moorage.hub.telemetry_log import LogCorrupt, Page, follow
from moorage.ids import parse_device_id

__all__ = ["telemetry_routes"]

MAX_FOLLOWERS: Final = 64
_MAX_LIMIT = 1000
# A message has at most 256 KiB, so a page stays far below what a thread can turn into text in a moment.
_FOLLOW_LIMIT = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST_OFFSET = 10**18
_PARTITION = whole("Only of this partition.", least=0)
_FROM = "start (the oldest kept), now, or an ISO 8601 time."


def telemetry_routes(services: ApiServices) -> list[Route]:
    api = _Telemetry(services)
    return [
        Route(
            "GET",
            "/moorage/v1/telemetry",
            api.read,
            "owner",
            "own",
            summary="One page of stored telemetry. It may be short or empty before the end: go by atEnd and read on "
            "from nextOffset.",
            query={
                "partition": _PARTITION,
                "device": "Only of this device and its modules.",
                "from": _FROM,
                "offset": whole("Only from this offset on: nextOffset of the page before.", least=0),
                "sequence": whole("Only from this sequence number on; needs partition.", least=0),
                "limit": whole("At most so many messages; 100 when not given.", least=1, most=_MAX_LIMIT),
            },
            answers={200: TELEMETRY},
        ),
        Route(
            "GET",
            "/moorage/v1/telemetry/stream",
            api.stream,
            "owner",
            "own",
            summary="Stored telemetry, then what arrives, as server-sent events `message` with one JSON object each; "
            "`Last-Event-ID` resumes. `ended` is the last, also when the caller's credential expires.",
            query={"partition": _PARTITION, "device": "Only of this device and its modules.", "from": _FROM},
            headers=("last-event-id",),
            answers={200: EVENTS},
        ),
        Route(
            "GET",
            "/moorage/v1/telemetry/partitions",
            api.partitions,
            "owner",
            "own",
            summary="What each partition holds: its first and last sequence number, last offset and time.",
            answers={200: PARTITIONS},
        ),
    ]


class _Telemetry:
    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._followers = 0

    async def read(self, call: Call) -> Response:
        from_offset, from_time = self._start(call)
        page = await self._services.log.read(
            _partition(call),
            from_sequence=_whole(call, "sequence"),
            from_offset=from_offset if from_offset is not None else _whole(call, "offset"),
            from_time=from_time,
            device_id=_device(call),
            limit=call.count("limit", default=100, least=1, most=_MAX_LIMIT),
        )
        return encoded_response(await asyncio.to_thread(_encode_page, page))

    async def stream(self, call: Call) -> Response:
        if self._followers >= MAX_FOLLOWERS:
            raise Exhausted(
                "telemetry.followers",
                f"{self._followers} clients follow telemetry already, {MAX_FOLLOWERS} may",
                retry_after_s=30,
            )
        from_offset, from_time = self._start(call)
        resumed = call.request.headers.get("last-event-id", "")
        if resumed.isascii() and resumed.isdigit() and len(resumed) <= 18:
            from_offset, from_time = int(resumed), None
        partition, device_id = _partition(call), _device(call)
        # What does not exist is refused now; once the stream has begun there is no status left to say so with.
        if partition is not None:
            await self._services.log.read(partition, from_offset=self._services.log.durable_end, limit=1)
        return StreamingResponse(
            self._events(partition, from_offset, from_time, device_id, Lease(call.principal, self._services.clock)),
            media_type="text/event-stream",
            headers={"cache-control": "no-store"},
        )

    async def partitions(self, call: Call) -> Response:
        log = self._services.log
        states = [await log.latest(partition) for partition in range(log.partitions)]
        return json_response(
            {
                "partitions": [
                    {
                        "partition": state.partition,
                        "beginSequenceNumber": state.begin_sequence,
                        "lastSequenceNumber": state.last_sequence,
                        "lastOffset": state.last_offset,
                        "lastEnqueuedTime": None
                        if state.is_empty
                        else format_time(_EPOCH + timedelta(milliseconds=state.last_enqueued_ms)),
                        "isEmpty": state.is_empty,
                    }
                    for state in states
                ]
            }
        )

    def _start(self, call: Call) -> tuple[int | None, int | None]:
        """(offset, time) to begin at. Raises `Invalid` (`time.malformed`)."""
        text = call.query.get("from", "start")
        if text == "start":
            return None, None
        if text == "now":
            return self._services.log.durable_end, None
        moment = parse_time(text, what="from, unless it is start or now,")
        return None, max(0, (moment - _EPOCH) // timedelta(milliseconds=1))

    async def _events(
        self,
        partition: int | None,
        from_offset: int | None,
        from_time: int | None,
        device_id: str | None,
        lease: Lease,
    ) -> AsyncIterator[bytes]:
        self._followers += 1
        try:
            # The first bytes tell the client that it is through, however long the first message takes.
            yield b": following\n\n"
            while True:
                pages = follow(
                    self._services.log,
                    partition,
                    from_offset=from_offset,
                    from_time=from_time,
                    device_id=device_id,
                    limit=_FOLLOW_LIMIT,
                )
                try:
                    async with aclosing(_with_heartbeats(pages, lease)) as beats:
                        async for page in beats:
                            ended = lease.why_ended()
                            if ended is not None:
                                # A page that has come is left for whoever goes on from here.
                                resume = None if from_offset is None else str(from_offset)
                                yield encode_refusal("ended", ended, resume=resume)
                                return
                            if page is None:
                                yield b": still here\n\n"
                            else:
                                yield await asyncio.to_thread(_encode_events, page)
                                from_offset = page.next_offset
                except LogCorrupt as damage:
                    yield encode_refusal("damaged", damage, offset=damage.offset)
                    from_offset = damage.resume_offset
                except Unavailable as refusal:
                    # The hub is shutting down, or its disk went: the client connects again when it can.
                    yield encode_refusal("ended", refusal)
                    return
        finally:
            self._followers -= 1


async def _with_heartbeats(pages: AsyncIterator[Page], lease: Lease) -> AsyncGenerator[Page | None]:
    """`pages`, and None after each quiet while, so that a client that went away is noticed."""
    while True:
        task = asyncio.ensure_future(anext(pages))
        try:
            while not (await asyncio.wait({task}, timeout=lease.patience_s))[0]:
                yield None
            page = task.result()
        finally:
            task.cancel()
        yield page


def _encode_page(page: Page) -> bytes:
    # One message at a time: whoever encodes holds the interpreter, and the loop has devices to answer.
    messages = b",".join([encode_json(telemetry_json(message)) for message in page.messages])
    at_end = b"true" if page.at_end else b"false"
    return b'{"messages":[%b],"nextOffset":%d,"atEnd":%b}' % (messages, page.next_offset, at_end)


def _encode_events(page: Page) -> bytes:
    return b"".join(
        b"id: %d\nevent: message\ndata: %b\n\n" % (message.offset + 1, encode_json(telemetry_json(message)))
        for message in page.messages
    )


def _partition(call: Call) -> int | None:
    return _whole(call, "partition")


def _whole(call: Call, name: str) -> int | None:
    return call.count(name, default=0, least=0, most=_LARGEST_OFFSET) if name in call.query else None


def _device(call: Call) -> str | None:
    text = call.query.get("device")
    return None if text is None else parse_device_id(text)
