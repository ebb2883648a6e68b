"""Saved queries of the data explorer over REST (contract/central.md 12)."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response

from moorage.accounts.model import Permission
from moorage.analytics.boards import Board, SavedQuery, check_query, parse_board_id
from moorage.api.application.routing import own_route
from moorage.api.application.services import OwnServices
from moorage.api.calls import ActorCall, etag_in, no_content, page_of, page_schema
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.application_queries import ANSWER, QUERY, QUERY_DRAFT, QUESTION
from moorage.dialects.answers_csv import answer_csv
from moorage.dialects.central_device_groups import parse_organizations
from moorage.dialects.members import get_boolean, need_text
from moorage.dialects.queries_json import parse_query, query_json
from moorage.errors import NotFound

__all__ = ["query_routes"]

# One's own takes no more than seeing data; those of an organisation are the service's to refuse.
_GATE: Final[Permission] = "data.view"


def query_routes(services: OwnServices) -> list[Route]:
    api, one = _Queries(services), "/queries/{id}"
    return [
        own_route(
            "GET", "/queries", api.list, _GATE, "Saved queries of the data explorer.", answers={200: page_schema(QUERY)}
        ),
        own_route(
            "POST",
            "/queries/answer",
            api.answer,
            _GATE,
            "What a query that is not saved finds, a row for each bucket of its lines.",
            body=QUESTION,
            answers={200: ANSWER},
        ),
        own_route("GET", one, api.get, _GATE, "One saved query.", answers={200: QUERY}),
        own_route(
            "PUT",
            one,
            api.put,
            _GATE,
            "Save a query; one that is not personal takes dashboards.manage.",
            body=QUERY_DRAFT,
            answers={200: QUERY},
            is_guarded=True,
        ),
        own_route("DELETE", one, api.delete, _GATE, "Delete one.", answers={204: None}, is_guarded=True),
    ]


class _Queries:
    def __init__(self, services: OwnServices) -> None:
        self._queries = services.queries
        self._explorer = services.explorer

    async def list(self, call: ActorCall) -> Response:
        found = sorted(await self._queries.list(call.actor), key=_id_of)
        return await page_of(call, found, _id_of, query_json)

    async def get(self, call: ActorCall) -> Response:
        return json_response(query_json(self._queries.get(call.actor, call.path["id"])))

    async def put(self, call: ActorCall) -> Response:
        query_id, body = parse_board_id(call.path["id"]), await call.json_object()
        query, held = parse_query(query_id, body), etag_in(call, body)
        try:
            present: Board[SavedQuery] | None = self._queries.get(call.actor, query_id)
        except NotFound:
            if held is not None:
                # What the caller read is gone.
                raise
            present = None
        organization = parse_organizations(body)
        place = call.actor.organization if present is None else present.organization
        stored = await self._queries.put(
            call.actor,
            query_id,
            need_text(body, "displayName"),
            query,
            is_personal=get_boolean(body, "personal", "personal", default=present is None or present.is_personal),
            organization=place if organization is None else organization,
            if_match=held,
        )
        return json_response(query_json(stored))

    async def answer(self, call: ActorCall) -> Response:
        """Raises as `Explorer.answer`."""
        query = parse_query("", await call.json_object())
        check_query(query)
        found = await self._explorer.answer(call.actor, query.question)
        return Response(await asyncio.to_thread(answer_csv, found), media_type="text/csv; charset=utf-8")

    async def delete(self, call: ActorCall) -> Response:
        await self._queries.delete(call.actor, call.path["id"], if_match=etag_in(call, {}))
        return no_content()


def _id_of(board: Board[SavedQuery]) -> str:
    return board.board_id
