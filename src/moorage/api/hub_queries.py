"""Queries over REST (contract/services.md 2.9)."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from moorage.api.problems import encoded_response
from moorage.api.routing import Call, Gate, Route
from moorage.api.schemas.parameters import PAGE_HEADERS, PAGED
from moorage.api.schemas.queries import QUERY, ROWS
from moorage.dialects.json_text import encode_json
from moorage.errors import Invalid
from moorage.hub.queries import MAX_PAGE, QueryService
from moorage.ids import HubId

__all__ = ["query_routes"]

# services.md 1.3: documented as ServiceConnect; whoever may read the registry sees nothing new.
_QUERY: Gate = frozenset({"ServiceConnect", "RegistryRead", "RegistryWrite"})
_DEFAULT_PAGE: Final = 100


def query_routes(queries: QueryService[Any], hub: HubId) -> list[Route]:
    api = _Queries(queries, hub)
    return [
        Route(
            "POST",
            "/devices/query",
            api.query,
            _QUERY,
            "document",
            summary="Twins, modules' twins or device jobs that a query selects, page by page.",
            body=QUERY,
            headers=PAGED,
            answers={200: ROWS},
            answer_headers=PAGE_HEADERS,
        )
    ]


class _Queries:
    def __init__(self, queries: QueryService[Any], hub: HubId) -> None:
        self._queries = queries
        self._hub = hub

    async def query(self, call: Call) -> Response:
        text = (await call.json_object()).get("query")
        if not isinstance(text, str):
            raise Invalid(
                "body.member",
                "the body has no text in its member 'query'",
                fix='{"query": "SELECT * FROM devices"}',
            )
        continuation = call.request.headers.get("x-ms-continuation")
        # Clients that have none send it empty.
        page = await self._queries.page(self._hub, text, _page_size(call), continuation or None, encode_json)
        response = encoded_response(b"[" + b",".join(page.items) + b"]")
        response.headers["x-ms-item-type"] = page.item_type
        if page.continuation is not None:
            response.headers["x-ms-continuation"] = page.continuation
        return response


def _page_size(call: Call) -> int:
    """Larger sizes than the largest mean that (Q-1). Raises `Invalid` (`query.page_size`)."""
    text = call.request.headers.get("x-ms-max-item-count", "").strip()
    if text in ("", "-1"):
        return _DEFAULT_PAGE
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) == 0:
        raise Invalid("query.page_size", f"x-ms-max-item-count is {text[:40]!r}, it has to be a whole number from 1")
    return min(int(text), MAX_PAGE)
