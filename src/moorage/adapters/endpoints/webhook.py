"""A web hook: POST with a JSON array of messages, by the one way out (`adapters/egress.py`).

    POST {address}
    content-type: application/json; charset=utf-8
    authorization: {credential}                  where there is one; the option `header` names another header

    [{message}, ...]                             or {message} alone, with the option `shape=object`

Any 2xx takes them. 408, 425, 429 and 5xx, and whatever keeps the request from being answered, are tried again. Every
other answer refuses them; so does a body that is too large to be sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from moorage.adapters.egress import Egress, Limits
from moorage.errors import Unavailable
from moorage.hub.router import Outgoing, Refused
from moorage.hub.routing_model import Endpoint

__all__ = ["MAX_REQUEST_BYTES", "WebhookSink"]

# A message has at most 256 KiB, base64 and properties included some 400.
MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
_TOTAL_S: Final = 30.0
_ANSWER_BYTES: Final = 64 * 1024
_AGAIN: Final = frozenset({408, 425, 429})


class WebhookSink:
    """Port: `hub.router.Sink`."""

    linger_s = 0.0

    def __init__(self, endpoint: Endpoint, egress: Egress) -> None:
        self._endpoint = endpoint
        self._egress = egress
        self._is_single = endpoint.options.get("shape") == "object"
        self._limits = Limits(_TOTAL_S, 2 * MAX_REQUEST_BYTES, _ANSWER_BYTES)

    async def deliver(self, messages: Sequence[Outgoing]) -> None:
        for body in self._bodies(messages):
            await self._post(body)

    async def close(self) -> None:
        """Every request has a connection of its own."""

    def _bodies(self, messages: Sequence[Outgoing]) -> Iterator[bytes]:
        if self._is_single:
            yield from (each.document for each in messages)
            return
        gathered: list[bytes] = []
        size = 0
        for each in messages:
            if gathered and size + len(each.document) > MAX_REQUEST_BYTES:
                yield b"[" + b",".join(gathered) + b"]"
                gathered, size = [], 0
            gathered.append(each.document)
            size += len(each.document)
        yield b"[" + b",".join(gathered) + b"]"

    async def _post(self, body: bytes) -> None:
        if len(body) > self._limits.request_bytes:
            # It will not become less.
            raise Refused(
                "endpoint.refused",
                f"a body for endpoint '{self._endpoint.name}' has {len(body)} bytes, at most "
                f"{self._limits.request_bytes} are sent",
            )
        headers = [("content-type", "application/json; charset=utf-8"), ("user-agent", "moorage")]
        if self._endpoint.credential.reveal():
            header = self._endpoint.options.get("header", "authorization")
            headers.append((header, self._endpoint.credential.reveal()))
        answer = await self._egress.request(
            "POST", self._endpoint.address.reveal(), headers=headers, body=body, limits=self._limits
        )
        if 200 <= answer.status < 300:
            return
        said = f"endpoint '{self._endpoint.name}' answered {answer.status}"
        if answer.status in _AGAIN or answer.status >= 500:
            raise Unavailable("endpoint.failed", said)
        raise Refused("endpoint.refused", said)
