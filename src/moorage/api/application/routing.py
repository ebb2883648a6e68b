"""Routes of our own API of the application: below `/moorage/v1/application`, each for a permission, with no version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from starlette.responses import Response

from moorage.accounts.model import Permission
from moorage.api.calls import ActorCall, ActorHandler
from moorage.api.routing import Call, Route
from moorage.api.schemas.parameters import IF_MATCH
from moorage.api.schemas.words import Content, Schema

__all__ = ["BASE", "own_route"]

BASE: Final = "/moorage/v1/application"
_MAX_BODY_BYTES: Final = 256 * 1024


def own_route(
    method: str,
    pattern: str,
    handler: ActorHandler,
    gate: Permission,
    summary: str,
    *,
    answers: Mapping[int, Schema | Content | None],
    body: Schema | Content | None = None,
    body_needed: bool = True,
    query: Mapping[str, Schema | str] | None = None,
    is_guarded: bool = False,
    max_body_bytes: int = _MAX_BODY_BYTES,
) -> Route:
    """`pattern` is that below `BASE`. One that `is_guarded` heeds If-Match."""

    async def answer(call: Call) -> Response:
        if not isinstance(call, ActorCall):
            raise TypeError("our own API of the application is asked through ActorApi")
        return await handler(call)

    headers: Sequence[str] = (IF_MATCH,) if is_guarded else ()
    return Route(
        method,
        BASE + pattern,
        answer,
        gate,
        "application",
        summary=summary,
        answers=answers,
        query=query or {},
        headers=headers,
        body=body,
        body_needed=body_needed,
        max_body_bytes=max_body_bytes,
    )
