"""The audit log over REST: the filters and the order of its page, as long a way back as is kept (AUD-1 to AUD-5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, get_args

from starlette.responses import Response

from moorage.accounts.audit import MAX_EXPORTED, AuditFilter, Order
from moorage.api.application.routing import own_route
from moorage.api.application.services import OwnServices
from moorage.api.calls import ActorCall, continuation, page_answer, page_schema, page_size
from moorage.api.routing import Route
from moorage.api.schemas.application_audit import AUDIT_ENTRY
from moorage.api.schemas.words import one_of
from moorage.dialects.audit_json import audit_json
from moorage.dialects.times import parse_time
from moorage.errors import Invalid

__all__ = ["audit_routes"]

_MOST_TEXT: Final = 200
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ORDERS: Final = {order: order for order in get_args(Order)}
_DIRECTIONS: Final = {"down": True, "up": False}


def audit_routes(services: OwnServices) -> list[Route]:
    async def entries(call: ActorCall) -> Response:
        limit = page_size(call)
        offset, came_before = _place(continuation(call), services.clock.now())
        order: Order = call.choice("sort", _ORDERS) or "at"
        is_descending = call.choice("direction", _DIRECTIONS)
        found = await services.audit.find(
            services.hub,
            _wanted(call, came_before),
            order,
            is_descending=is_descending is not False,
            limit=limit + 1,
            offset=offset,
        )
        has_more = len(found) > limit and offset + limit < MAX_EXPORTED
        micros = (came_before - _EPOCH) // _MICROSECOND
        return await page_answer(call, found[:limit], audit_json, f"{offset + limit}.{micros}" if has_more else None)

    return [
        own_route(
            "GET",
            "/audit",
            entries,
            "audit.view",
            "Who did what, and when; the newest first.",
            query={
                "since": "Only from this time on.",
                "until": "Only before this time.",
                "who": "Only of actors with this in their name.",
                "kind": "Only of this sort of thing: `device`, `rule`, `user`.",
                "what": "Only acts with this in them.",
                "on": "Only of what has this in its name.",
                "sort": one_of(*_ORDERS),
                "direction": one_of(*_DIRECTIONS),
                "$top": "How many on a page, at most 100.",
            },
            answers={200: page_schema(AUDIT_ENTRY)},
        )
    ]


def _wanted(call: ActorCall, came_before: datetime) -> AuditFilter:
    """What comes while pages are turned does not move them. Raises `Invalid` (`time.malformed`)."""
    since, until = (
        parse_time(call.query[name], what=name) if call.query.get(name) else None for name in ("since", "until")
    )
    who, kind, what, on = (call.query.get(name, "").strip()[:_MOST_TEXT] for name in ("who", "kind", "what", "on"))
    return AuditFilter(since, min(until, came_before) if until else came_before, who, kind, what, on)


def _place(after: str, now: datetime) -> tuple[int, datetime]:
    """(how many entries were on earlier pages, when the first was asked for). Raises `Invalid`."""
    if not after:
        return 0, now + _MICROSECOND
    offset, _, micros = after.partition(".")
    if not all(part.isascii() and part.isdigit() and len(part) <= 17 for part in (offset, micros)):
        raise Invalid("query.continuation", "$skiptoken is not one that was given out for the audit log")
    return min(int(offset), MAX_EXPORTED), _EPOCH + int(micros) * _MICROSECOND
