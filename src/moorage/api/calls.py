"""What a handler of the application's own APIs is given, what it reads of a body, and how it answers lists.

Two APIs are built of these: the Central API (`central/`), whose rules are contract/central.md API-1 to API-8, and our
own beside it (`application/`). Lists are answered by pages: `value`, and `nextLink` with an opaque `$skiptoken` where
more follows; `$top` and `maxpagesize` both say how long a page is.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

from starlette.responses import Response

from moorage.accounts.model import Actor
from moorage.api.problems import encoded_response
from moorage.api.routing import Call
from moorage.api.schemas.words import Schema, members, text
from moorage.dialects.json_text import encode_json
from moorage.dialects.members import check_members
from moorage.errors import Invalid
from moorage.ids import ETag, parse_etag

__all__ = [
    "DEFAULT_PAGE",
    "MAX_PAGE",
    "ActorCall",
    "ActorHandler",
    "continuation",
    "etag_in",
    "no_content",
    "page",
    "page_answer",
    "page_of",
    "page_parts",
    "page_schema",
    "page_size",
]

# PRE-3
DEFAULT_PAGE: Final = 25
MAX_PAGE: Final = 100
# Encoding so many takes well below a millisecond (decisions S8).
_PIECE: Final = 25
_MAX_TOKEN: Final = 2048

Item = TypeVar("Item")
Choice = TypeVar("Choice")


@dataclass(slots=True, kw_only=True)
class ActorCall(Call):
    """One request that passed the gate. `base` is `https://host[:port]` as the caller wrote it, for `nextLink`."""

    actor: Actor
    base: str

    async def members(self, *known: str) -> dict[str, Any]:
        """The body, an object with no other members than `known`. Raises `Invalid` (`json.*`, `body.member`)."""
        body = await self.json_object()
        check_members(body, known)
        return body

    def choice(self, name: str, words: Mapping[str, Choice]) -> Choice | None:
        """What a parameter of the query string, one of `words`, stands for; None where it is not there.

        Raises `Invalid` (`query.choice`).
        """
        word = self.query.get(name)
        if word is not None and word not in words:
            raise Invalid("query.choice", f"{name} is {word[:40]!r}, it has to be one of {', '.join(words)}")
        return None if word is None else words[word]


ActorHandler = Callable[[ActorCall], Awaitable[Response]]


# -- bodies --------------------------------------------------------------------------------------------------------


def etag_in(call: ActorCall, body: Mapping[str, Any]) -> ETag | None:
    """The etag that the caller holds, from the body (API-8) or If-Match; None for whatever is there.

    Raises `Invalid` (`body.member`).
    """
    held = body.get("etag")
    if held is not None and not isinstance(held, str):
        raise Invalid("body.member", f"etag is a {type(held).__name__}, it has to be a string")
    return parse_etag(held) or parse_etag(call.request.headers.get("if-match"))


# -- answers -------------------------------------------------------------------------------------------------------


def no_content() -> Response:
    """API-6."""
    return Response(status_code=204)


def page_schema(item: Schema) -> Schema:
    """What a list answers (API-3)."""
    return members({"value": {"type": "array", "items": item}}, {"nextLink": text("Where the next page is.")})


def page_size(call: ActorCall) -> int:
    """Raises `Invalid` (`query.number`)."""
    for name in ("maxpagesize", "$top"):
        if name in call.query:
            return min(call.count(name, default=DEFAULT_PAGE, least=1, most=10**9), MAX_PAGE)
    return DEFAULT_PAGE


async def page(
    call: ActorCall,
    list_after: Callable[[int, str], Awaitable[Sequence[Item]]],
    key_of: Callable[[Item], str],
    encode: Callable[[Item], Any],
) -> Response:
    """One page of what `list_after(limit, key)` gives behind a key, in its order.

    Raises `Invalid` (`query.number`, `query.continuation`).
    """
    limit = page_size(call)
    found = await list_after(limit + 1, continuation(call))
    shown = found[:limit]
    return await page_answer(call, shown, encode, key_of(shown[-1]) if len(found) > limit else None)


async def page_answer(
    call: ActorCall, items: Sequence[Item], encode: Callable[[Item], Any], next_key: str | None
) -> Response:
    """`items` as one page, with a link to what comes behind `next_key`."""
    parts: list[bytes] = []
    for start in range(0, len(items), _PIECE):
        parts += [encode_json(encode(each)) for each in items[start : start + _PIECE]]
        await asyncio.sleep(0)
    return page_parts(call, parts, next_key)


def page_parts(call: ActorCall, parts: Sequence[bytes], next_key: str | None) -> Response:
    """As `page_answer`, of items that are encoded already."""
    more = b"" if next_key is None else b',"nextLink":' + encode_json(_next_link(call, next_key))
    return encoded_response(b'{"value":[' + b",".join(parts) + b"]" + more + b"}")


def continuation(call: ActorCall) -> str:
    """The key behind which this page begins, '' for the first. Raises `Invalid` (`query.continuation`)."""
    return _parse_token(call.query.get("$skiptoken"))


async def page_of(
    call: ActorCall, items: Sequence[Item], key_of: Callable[[Item], str], encode: Callable[[Item], Any]
) -> Response:
    """As `page`, of few items that are all here, in the order of their keys."""

    async def list_after(limit: int, after: str) -> Sequence[Item]:
        return [each for each in items if key_of(each) > after][:limit] if after else items[:limit]

    return await page(call, list_after, key_of, encode)


def _next_link(call: ActorCall, key: str) -> str:
    token = base64.urlsafe_b64encode(key.encode()).decode("ascii")
    kept = [(name, value) for name, value in call.query.items() if name != "$skiptoken"]
    return f"{call.base}{quote(call.request.scope['path'])}?{urlencode([*kept, ('$skiptoken', token)])}"


def _parse_token(token: str | None) -> str:
    if not token:
        return ""
    try:
        if len(token) > _MAX_TOKEN:
            raise ValueError
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise Invalid("query.continuation", "$skiptoken is not one that was given out here") from None
