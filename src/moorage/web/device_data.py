"""What a device sent, as it came: nothing is hidden, what cannot be read is shown as bytes and says why.

An open page is told of new messages by server-sent events that carry rows of the table. It is told of them in batches,
and where more come than anybody reads, it is told how many bytes of the log were passed over.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from moorage.dialects.json_text import parse_json
from moorage.dialects.telemetry_json import telemetry_json
from moorage.errors import Exhausted, Invalid, Unavailable
from moorage.hub.telemetry_log import LogCorrupt, StoredMessage
from moorage.ids import IdentityName, parse_device_id
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.sign_in import COOKIE

__all__ = ["data_pages"]

MAX_LIVE_PAGES: Final = 64
_ROWS: Final = 50
_SPANS: Final = {"15 minutes": 15, "hour": 60, "day": 24 * 60, "week": 7 * 24 * 60}
# Stretches of the log that one page looks through for messages of its device.
_READS: Final = 40
_BATCH_S: Final = 0.2
_HEARTBEAT_S: Final = 15.0
_HEX_BYTES: Final = 256
# Of a body: fifty of the largest ones, indented, would be a page of gigabytes.
MAX_SHOWN: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One message. `text` is its body, indented where it is JSON; `problem` says why it is shown as bytes."""

    at: datetime
    source: str
    component: str
    text: str
    problem: str
    more: str

    @property
    def is_told_by_hub(self) -> bool:
        return self.source != "Telemetry"


def data_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Data(services, renderer)
    return [
        Page("GET", "/devices/{device_id}/data", pages.show, "devices.view"),
        Page("GET", "/devices/{device_id}/data/live", pages.live, "devices.view"),
    ]


class _Data:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._renderer = renderer
        self._live = 0

    async def show(self, visit: Visit) -> Response:
        services = self._services
        name = IdentityName(parse_device_id(visit.path["device_id"]))
        identity = services.registry.get(services.hub, name)
        span = visit.query.get("span", "")
        minutes = _SPANS.get(span, _SPANS["hour"])
        since = services.clock.now() - timedelta(minutes=minutes)
        # Before the read: what comes after it is told by the live part.
        end = services.log.durable_end
        messages, is_whole = await self._last(name.device_id, since)
        rows = await asyncio.to_thread(lambda: [row_of(message) for message in reversed(messages)])
        return await self._renderer.long_page(
            visit,
            "devices/data.html",
            identity=identity,
            presence=services.presence.of(services.hub, name),
            rows=rows,
            is_whole=is_whole,
            end=end,
            span=span if span in _SPANS else "hour",
            spans=list(_SPANS),
            tab="data",
        )

    async def live(self, visit: Visit) -> Response:
        """Raises `Exhausted` (`telemetry.followers`)."""
        services = self._services
        device_id = parse_device_id(visit.path["device_id"])
        services.registry.get(services.hub, IdentityName(device_id))
        if self._live >= MAX_LIVE_PAGES:
            raise Exhausted(
                "telemetry.followers",
                f"{self._live} pages follow devices already, {MAX_LIVE_PAGES} may",
                retry_after_s=30,
            )
        asked = visit.request.headers.get("last-event-id") or visit.query.get("from", "")
        end = services.log.durable_end
        begin = int(asked) if asked.isascii() and asked.isdigit() and len(asked) <= 18 else end
        return StreamingResponse(self._events(visit, device_id, min(begin, end)), media_type="text/event-stream")

    async def _events(self, visit: Visit, device_id: str, offset: int) -> AsyncIterator[str]:
        log = self._services.log
        self._live += 1
        try:
            yield ": following\n\n"
            while self._services.accounts.session(visit.request.cookies.get(COOKIE, "")) is not None:
                try:
                    page = await log.read(from_offset=offset, device_id=device_id, limit=_ROWS)
                except LogCorrupt as damage:
                    offset = damage.resume_offset
                    continue
                except Unavailable:
                    # The hub is shutting down, or its disk went: the page connects again by itself.
                    return
                offset, passed = page.next_offset, 0
                if page.messages and not page.at_end:
                    offset, passed = log.durable_end, log.durable_end - offset
                if page.messages:
                    html = await asyncio.to_thread(self._render, visit, page.messages, passed)
                    yield f"id: {offset}\n" + "".join(f"data: {line}\n" for line in html.splitlines()) + "\n"
                if page.at_end:
                    try:
                        async with asyncio.timeout(_HEARTBEAT_S):
                            await log.wait_beyond(offset)
                    except TimeoutError:
                        yield ": still here\n\n"
                await asyncio.sleep(_BATCH_S)
        finally:
            self._live -= 1

    def _render(self, visit: Visit, messages: list[StoredMessage], passed: int) -> str:
        rows = [row_of(message) for message in reversed(messages)]
        return self._renderer.text(visit, "devices/data_rows.html", rows=rows, passed=passed)

    async def _last(self, device_id: str, since: datetime) -> tuple[list[StoredMessage], bool]:
        """The last messages of the device since then, and whether all of that time was looked through."""
        log = self._services.log
        found: list[StoredMessage] = []
        at: dict[str, int] = {"from_time": int(since.timestamp() * 1000)}
        for _ in range(_READS):
            try:
                page = await log.read(device_id=device_id, limit=1000, **at)
            except LogCorrupt as damage:
                at = {"from_offset": damage.resume_offset}
                continue
            found = [*found, *page.messages][-_ROWS:]
            if page.at_end:
                return found, True
            at = {"from_offset": page.next_offset}
        return found, False


def row_of(message: StoredMessage) -> Row:
    """For a thread: a body may have 256 KiB."""
    shown = telemetry_json(message)
    problem, text = "", ""
    is_json = "body" in shown
    value = shown.pop("body" if is_json else "bodyBase64")
    if len(message.body) > MAX_SHOWN:
        text = message.body[:MAX_SHOWN].decode("utf-8", "replace")
        problem = f"too long for a page: {MAX_SHOWN} of {len(message.body)} bytes; all of it: moorage telemetry tail"
    elif is_json:
        text = _indented(value)
    else:
        text, problem = _guess(message.body, str(shown["systemProperties"].get("content-type", "")))
    return Row(
        at=message.enqueued_time,
        source=message.source.message_source,
        component=str(shown["systemProperties"].get("dt-subject", "")),
        text=text,
        problem=problem,
        more=_indented(shown),
    )


def _guess(body: bytes, content_type: str) -> tuple[str, str]:
    """(text, problem): JSON though nobody said so, else the bytes in hexadecimal and why they are not read."""
    try:
        value: Any = parse_json(body, what="the body")
    except Invalid as refusal:
        return _hex(body), f"not JSON: {refusal.message}"
    said = f"the content type is {content_type!r}" if content_type else "no content type was given"
    return _indented(value), f"read as JSON, though {said}"


def _indented(value: Any) -> str:
    """Deep values in one line: each of their lines would be many times as long as it was."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text if len(text) <= 2 * MAX_SHOWN else json.dumps(value, ensure_ascii=False)


def _hex(body: bytes) -> str:
    """Lines of 16 bytes, with what is printable of them."""
    lines = []
    for at in range(0, min(len(body), _HEX_BYTES), 16):
        part = body[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{at:04x}  {part.hex(' '):<47}  {text}")
    if len(body) > _HEX_BYTES:
        lines.append(f"... {len(body) - _HEX_BYTES} bytes more")
    return "\n".join(lines)
