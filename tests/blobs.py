"""A container of block blobs, as far as imports and exports use one: for `tests.callees`, behind real TLS.

container = BlobContainer()
async with callee(container.respond) as server:
    uri = container.uri(server.url)
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from tests.callees import Received

__all__ = ["BlobContainer"]

SIGNATURE = "a-very%2Fsecret%3Dsignature"


@dataclass
class BlobContainer:
    """`blobs` are what was committed. `before` is called with each request that is let in."""

    name: str = "fleet"
    blobs: dict[str, bytes] = field(default_factory=dict)
    blocks: dict[str, dict[str, bytes]] = field(default_factory=dict)
    unavailable: int = 0
    largest_block: int = 0
    before: Callable[[str, str], None] = lambda method, blob: None
    # (method, blob, first byte of a range)
    requests: list[tuple[str, str, int]] = field(default_factory=list)

    def uri(self, server: str) -> str:
        return f"{server}/{self.name}?sv=2019-12-12&sr=c&sp=rwdl&sig={SIGNATURE}"

    async def respond(self, received: Received, writer: asyncio.StreamWriter) -> None:
        status, headers, body = self._answer(received)
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    def _answer(self, received: Received) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(received.target)
        query = parse_qs(parts.query)
        if query.get("sig") != [unquote(SIGNATURE)]:
            return 403, {"x-ms-error-code": "AuthenticationFailed"}, b"<Error><Code>AuthenticationFailed</Code></Error>"
        if self.unavailable:
            self.unavailable -= 1
            return 503, {}, b"<Error><Code>ServerBusy</Code></Error>"
        if "x-ms-version" not in received.headers or not parts.path.startswith(f"/{self.name}/"):
            return 400, {}, b"<Error><Code>InvalidHeaderValue</Code></Error>"
        blob = unquote(parts.path[len(self.name) + 2 :])
        self.before(received.method, blob)
        first = int(received.headers.get("x-ms-range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.requests.append((received.method, blob, first))
        if received.method == "GET":
            return self._get(blob, received.headers)
        if query.get("comp") == ["block"]:
            self.largest_block = max(self.largest_block, len(received.body))
            self.blocks.setdefault(blob, {})[query["blockid"][0]] = received.body
            return 201, {}, b""
        if query.get("comp") == ["blocklist"]:
            wanted = re.findall(r"<Latest>([^<]+)</Latest>", received.body.decode())
            if any(len(base64.b64decode(each)) != len(base64.b64decode(wanted[0])) for each in wanted):
                return 400, {}, b"<Error><Code>InvalidBlockId</Code></Error>"
            there = self.blocks.get(blob, {})
            if any(each not in there for each in wanted):
                return 400, {}, b"<Error><Code>InvalidBlockList</Code></Error>"
            self.blobs[blob] = b"".join(there[each] for each in wanted)
            return 201, {}, b""
        return 405, {}, b""

    def _get(self, blob: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        content = self.blobs.get(blob)
        if content is None:
            return 404, {"x-ms-error-code": "BlobNotFound"}, b""
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        if headers.get("if-match") not in (None, etag):
            return 412, {"x-ms-error-code": "ConditionNotMet"}, b""
        first, last = map(int, headers["x-ms-range"].removeprefix("bytes=").split("-"))
        if first >= len(content):
            return 416, {"x-ms-error-code": "InvalidRange"}, b""
        part = content[first : last + 1]
        span = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        return 206, {"ETag": etag, "Content-Range": span}, part
