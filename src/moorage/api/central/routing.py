"""Routes of the Central API: below `/api`, each for a permission, with a version (contract/central.md API-1, API-2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from moorage.accounts.model import Permission
from moorage.api.calls import ActorCall, ActorHandler
from moorage.api.routing import Call, Route
from moorage.api.schemas.words import Schema
from moorage.errors import NotFound

__all__ = ["PREVIEW_VERSIONS", "STABLE_VERSIONS", "central_route", "check_version"]

# Deprecated ones are answered as the newest stable one (API-2).
STABLE_VERSIONS: Final = ("2022-07-31", "2022-05-31", "1.0")
# `az iot central` still speaks the older preview.
PREVIEW_VERSIONS: Final = ("2022-10-31-preview", "2022-06-30-preview")
_MAX_BODY_BYTES: Final = 256 * 1024


def central_route(
    method: str,
    pattern: str,
    handler: ActorHandler,
    gate: Permission,
    summary: str,
    *,
    answers: Mapping[int, Schema | None],
    body: Schema | None = None,
    body_needed: bool = True,
    query: Mapping[str, Schema | str] | None = None,
    is_preview: bool = False,
    max_body_bytes: int = _MAX_BODY_BYTES,
) -> Route:
    """`pattern` is that below `/api`. With `is_preview` only calls of a preview version find it."""

    async def answer(call: Call) -> Response:
        if not isinstance(call, ActorCall):
            raise TypeError("the Central API is asked through ActorApi")
        asks_for_preview = check_version(call.query)
        if is_preview and not asks_for_preview:
            raise NotFound(
                "api.version",
                f"this is served for preview versions of the API alone: {', '.join(PREVIEW_VERSIONS)}",
                fix=f"?api-version={PREVIEW_VERSIONS[0]}",
            )
        return await handler(call)

    return Route(
        method,
        "/api" + pattern,
        answer,
        gate,
        "central",
        summary=summary,
        answers=answers,
        query=query or {},
        body=body,
        body_needed=body_needed,
        max_body_bytes=max_body_bytes,
    )


def check_version(query: Mapping[str, str]) -> bool:
    """Whether `api-version` names a preview. Raises `NotFound` (`api.version`), as the service does."""
    version = query.get("api-version")
    if version in STABLE_VERSIONS:
        return False
    if version in PREVIEW_VERSIONS:
        return True
    said = "the query string has no api-version" if version is None else f"{version[:40]!r} is not an API version"
    raise NotFound(
        "api.version",
        f"{said}; there are {', '.join((*STABLE_VERSIONS, *PREVIEW_VERSIONS))}",
        fix=f"?api-version={STABLE_VERSIONS[0]}",
    )
