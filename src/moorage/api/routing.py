"""Routes as values, and the table that finds one for a request.

Paths match without case and with or without a slash behind (R-1). They are split before their segments are
percent-decoded (R-2): an id may hold `%`, `#` or `?`, and an encoded slash must not make two segments of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response

from moorage.accounts.model import Permission
from moorage.api.problems import Style
from moorage.api.schemas.words import Content, Schema
from moorage.dialects.json_text import parse_json
from moorage.errors import Invalid, NotFound, TooLarge
from moorage.identities.access import Principal
from moorage.identities.model import Right

__all__ = ["MAX_BODY_BYTES", "Call", "Gate", "Handler", "MethodNotAllowed", "Route", "RouteTable", "split_path"]

MAX_BODY_BYTES: Final = 1024 * 1024
# Ids take 128 characters, each of which may come percent-encoded; ARM paths have a dozen segments.
_MAX_PATH_BYTES = 8 * 1024
# Segments before a parameter that takes all the rest, at most.
_MAX_TAIL_AT = 4
# Parsing this much takes about a millisecond; the loop has devices to serve (decisions S8).
_LARGE_BYTES = 64 * 1024

# Who may pass: anybody, a device with its own credential (which the handler judges), anybody on this machine or the
# owner, the owner alone, a token with one of some rights, or whoever has a permission of the application.
Gate = Literal["public", "device", "local", "owner"] | frozenset[Right] | Permission


class MethodNotAllowed(NotFound):
    """The path exists, but not for this method; `allow` lists those it has."""

    def __init__(self, message: str, allow: tuple[str, ...]) -> None:
        super().__init__("route.method", message)
        self.allow = allow


@dataclass(slots=True)
class Call:
    """One request that passed the gate: its path parameters are decoded, its body is not read yet.

    `principal` is who sent it, None where the gate does not ask.
    """

    request: Request
    path: Mapping[str, str]
    tracking_id: str
    principal: Principal | None = None
    max_body_bytes: int = MAX_BODY_BYTES

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    async def body(self) -> bytes:
        """Raises `TooLarge` (`body.size`) as soon as it is known."""
        limit = self.max_body_bytes
        announced = self.request.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and int(announced[:12]) > limit:
            raise TooLarge("body.size", f"the body has {announced[:12]} bytes, at most {limit} are allowed")
        parts: list[bytes] = []
        size = 0
        async for part in self.request.stream():
            size += len(part)
            if size > limit:
                raise TooLarge("body.size", f"the body has more than {limit} bytes")
            parts.append(part)
        return b"".join(parts)

    async def json(self) -> Any:
        """The body as JSON; a large one is read in a thread. Raises `Invalid` (`json.*`)."""
        return await _parsed(await self.body())

    async def json_if_any(self) -> Any:
        """As `json`; None where there is no body."""
        data = await self.body()
        return await _parsed(data) if data else None

    async def json_object(self) -> dict[str, Any]:
        value = await self.json()
        if not isinstance(value, dict):
            raise Invalid("json.not_object", "the body has to be a JSON object")
        return value

    def count(self, name: str, *, default: int, least: int, most: int) -> int:
        """A whole number of the query string. Raises `Invalid` (`query.number`)."""
        text = self.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 18) or not least <= int(text) <= most:
            raise Invalid(
                "query.number", f"{name} is {text[:40]!r}, it has to be a whole number from {least} to {most}"
            )
        return int(text)


Handler = Callable[[Call], Awaitable[Response]]


async def _parsed(data: bytes) -> Any:
    if len(data) > _LARGE_BYTES:
        return await asyncio.to_thread(parse_json, data, what="the body")
    return parse_json(data, what="the body")


@dataclass(frozen=True, slots=True)
class Route:
    """How a request reaches a handler, and what the OpenAPI document says about it.

    `pattern` is `/literal/{parameter}`; at its end, `{parameter...}` takes one segment or more, with slashes. What
    comes behind `style` is for readers and their programs:

    Attributes:
        summary: one sentence, what it does.
        answers: status to what the answer holds; None where it has no body. Refusals need no mention.
        query: parameters of the query string; a string stands for text with that description.
        headers: request headers that change what is done; names of `schemas.parameters.REQUEST_HEADERS`.
        body: what has to be sent; None where no body is read.
        body_needed: False where the body may be absent.
        answer_headers: headers of the answer that matter; names of `schemas.parameters.ANSWER_HEADERS`.
        of_device: the device that the path names may ask it too, with its own credential, which the handler judges.
        needs_header: only requests that have this header are for the route, which goes before one that asks for none.
    """

    method: str
    pattern: str
    handler: Handler
    gate: Gate
    style: Style
    summary: str = ""
    answers: Mapping[int, Schema | Content | None] = field(default_factory=dict)
    query: Mapping[str, Schema | str] = field(default_factory=dict)
    headers: Sequence[str] = ()
    body: Schema | Content | None = None
    body_needed: bool = True
    answer_headers: Sequence[str] = ()
    max_body_bytes: int = MAX_BODY_BYTES
    needs_header: str = ""
    of_device: bool = False

    @property
    def operation_id(self) -> str:
        """From method and path, so it is unique and stays what it is: `get_devices_id_modules_module`."""
        segments = (segment.strip("{}").removesuffix("...").replace("-", "_") for segment in self.segments)
        return "_".join((self.method.lower(), *segments))

    @property
    def template(self) -> str:
        """The pattern as OpenAPI has it."""
        return self.pattern.replace("...}", "}")

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(segment for segment in self.pattern.split("/") if segment)


def split_path(raw_path: bytes) -> tuple[str, ...]:
    """Decoded segments. Raises `Invalid` (`path.size`, `path.encoding`)."""
    if len(raw_path) > _MAX_PATH_BYTES:
        raise Invalid("path.size", f"the path has {len(raw_path)} bytes, at most {_MAX_PATH_BYTES} are allowed")
    try:
        return tuple(unquote_to_bytes(segment).decode() for segment in raw_path.strip(b"/").split(b"/"))
    except UnicodeDecodeError:
        raise Invalid("path.encoding", "the path is not UTF-8 once percent-decoded") from None


class RouteTable:
    """Finds routes; a literal segment goes before a parameter, whatever order they were given in."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._by_length: dict[int, list[tuple[tuple[str, ...], Route]]] = {}
        # By what stands before a parameter that takes all the rest: literals, which go before everything else.
        self._tails: dict[tuple[str, ...], list[Route]] = {}
        for route in self.routes:
            pattern = tuple(segment if segment[0] == "{" else segment.lower() for segment in route.segments)
            if pattern and pattern[-1].endswith("...}"):
                self._tails.setdefault(pattern[:-1], []).append(route)
                continue
            self._by_length.setdefault(len(pattern), []).append((pattern, route))
        for entries in self._by_length.values():
            entries.sort(key=lambda entry: (*(segment[0] == "{" for segment in entry[0]), not entry[1].needs_header))

    def find(
        self, method: str, segments: tuple[str, ...], headers: Container[str] = ()
    ) -> tuple[Route, dict[str, str]]:
        """`headers` holds the names, in lower case. Raises `NotFound` (`route.unknown`) or `MethodNotAllowed`."""
        lowered = tuple(segment.lower() for segment in segments)
        allowed: list[str] = []
        for length in range(1, min(len(segments), _MAX_TAIL_AT + 1)):
            for route in self._tails.get(lowered[:length], ()):
                if route.method == method:
                    return route, {route.segments[-1][1:-4]: "/".join(segments[length:])}
                allowed.append(route.method)
        for pattern, route in self._by_length.get(len(segments), ()):
            if all(part[0] == "{" or part == segment for part, segment in zip(pattern, lowered, strict=True)):
                if route.needs_header and route.needs_header not in headers:
                    continue
                if route.method == method:
                    path = {
                        part[1:-1]: segment for part, segment in zip(pattern, segments, strict=True) if part[0] == "{"
                    }
                    return route, path
                allowed.append(route.method)
        shown = "/" + "/".join(segments)[:200]
        if allowed:
            raise MethodNotAllowed(f"{shown!r} takes {', '.join(allowed)}, not {method[:20]}", tuple(allowed))
        raise NotFound("route.unknown", f"there is nothing at {shown!r}")
