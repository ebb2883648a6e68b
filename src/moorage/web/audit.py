"""Audit logs: who did what and when, by time, filtered, sorted and as a file (contract/central.md AUD-1 to AUD-5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, cast, get_args
from urllib.parse import urlencode

from starlette.responses import Response, StreamingResponse

from moorage.accounts.audit import MAX_EXPORTED, AuditEntry, AuditFilter, Order, changes_of
from moorage.dialects.csv_text import csv_lines
from moorage.dialects.times import format_time
from moorage.errors import Invalid, Refusal
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.settings_code import audit_acts

__all__ = ["audit_pages"]

_PAGE: Final = 100
# What lies further back is found by a narrower range, not by turning pages.
_MAX_PAGES: Final = 100
_CHUNK: Final = 2000
_RANGES: Final = {
    "hour": ("Last hour", timedelta(hours=1)),
    "day": ("Last day", timedelta(days=1)),
    "week": ("Last 7 days", timedelta(days=7)),
    "month": ("Last 30 days", timedelta(days=30)),
    "all": ("All that is kept", None),
    "days": ("These days", None),
}
_COLUMNS: Final[tuple[tuple[Order, str], ...]] = (
    ("at", "Time"),
    ("actor", "Who"),
    ("event", "Action"),
    ("entity", "Entity"),
)


class Asked(NamedTuple):
    """What the query string of a visit asks for."""

    wanted: AuditFilter
    order: Order
    is_descending: bool
    page: int


def audit_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Audit(services, renderer)
    return [
        Page("GET", "/audit", pages.show, "audit.view"),
        Page("GET", "/audit/entries.csv", pages.export, "audit.view"),
    ]


class _Audit:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._hub = services.hub
        self._clock = services.clock
        self._trail = services.audit
        self._info = services.info
        self._renderer = renderer

    async def show(self, visit: Visit) -> Response:
        problem: Refusal | None = None
        try:
            asked = _asked(visit, self._clock.now())
        except Invalid as refusal:
            problem, asked = refusal, Asked(AuditFilter(since=self._clock.now()), "at", True, 0)
        found = await self._trail.find(
            self._hub,
            asked.wanted,
            asked.order,
            is_descending=asked.is_descending,
            limit=_PAGE + 1,
            offset=asked.page * _PAGE,
        )
        fields = {name: visit.query.get(name, "") for name in ("range", "since", "until", "who", "kind", "what", "on")}
        fields["range"] = fields["range"] or "week"
        has_more = len(found) > _PAGE and asked.page + 1 < _MAX_PAGES
        return await self._renderer.long_page(
            visit,
            "people/audit.html",
            200 if problem is None else 400,
            entries=[(entry, list(changes_of(entry))) for entry in found[:_PAGE]],
            fields=fields,
            ranges=[(name, label) for name, (label, _span) in _RANGES.items()],
            kinds=await self._trail.kinds(self._hub),
            columns=[
                (label, _sorted_by(visit, column, asked), asked.is_descending if column == asked.order else None)
                for column, label in _COLUMNS
            ],
            export=f"/audit/entries.csv?{_query(visit)}",
            acts=audit_acts(self._info(), asked.wanted, asked.order, is_descending=asked.is_descending),
            following=f"/audit?{_query(visit, page=str(asked.page + 2))}" if has_more else "",
            earlier=f"/audit?{_query(visit, page=str(asked.page))}" if asked.page else "",
            problem=problem,
        )

    async def export(self, visit: Visit) -> Response:
        """All that the filter finds, in the order of the page; made as it is read."""
        asked = _asked(visit, self._clock.now())
        name = f"audit-{self._clock.now():%Y%m%d-%H%M%S}.csv"
        return StreamingResponse(
            self._lines(asked),
            media_type="text/csv; charset=utf-8",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    async def _lines(self, asked: Asked) -> AsyncIterator[str]:
        yield csv_lines([["time", "who", "action", "entity type", "entity", "details"]])
        # What comes while it is read does not move what was asked for.
        wanted = asked.wanted._replace(until=asked.wanted.until or self._clock.now() + timedelta(seconds=1))
        for offset in range(0, MAX_EXPORTED, _CHUNK):
            found = await self._trail.find(
                self._hub, wanted, asked.order, is_descending=asked.is_descending, limit=_CHUNK, offset=offset
            )
            yield await asyncio.to_thread(csv_lines, [_row(entry) for entry in found])
            if len(found) < _CHUNK:
                return


def _row(entry: AuditEntry) -> list[str]:
    details = "; ".join(
        f"{what}: {after}" if before is None else f"{what}: {before} -> {after}"
        for what, before, after in changes_of(entry)
    )
    return [format_time(entry.at), entry.actor, entry.action, entry.kind, entry.entity, details]


def _asked(visit: Visit, now: datetime) -> Asked:
    """Raises `Invalid` (`query.day`)."""
    query = visit.query
    chosen = query.get("range", "week")
    span = _RANGES.get(chosen, _RANGES["week"])[1]
    since = None if span is None else now - span
    until = None
    if chosen == "days":
        since = _day(query.get("since", ""))
        last = _day(query.get("until", ""))
        until = None if last is None else last + timedelta(days=1)
    order = query.get("sort", "at")
    page = query.get("page", "1")[:6]
    return Asked(
        AuditFilter(
            since,
            until,
            query.get("who", "").strip()[:200],
            query.get("kind", "")[:100],
            query.get("what", "").strip()[:200],
            query.get("on", "").strip()[:200],
        ),
        cast(Order, order) if order in get_args(Order) else "at",
        query.get("direction", "down") != "up",
        min(int(page), _MAX_PAGES) - 1 if page.isascii() and page.isdigit() and 0 < int(page) else 0,
    )


def _day(text: str) -> datetime | None:
    if not text.strip():
        return None
    try:
        day = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
        # The last one that there is has no day behind it.
        return min(day, datetime.max.replace(tzinfo=UTC) - timedelta(days=2))
    except ValueError:
        raise Invalid("query.day", f"{text[:40]!r} is no day such as 2027-03-31") from None


def _query(visit: Visit, **changes: str) -> str:
    kept = {name: value for name, value in visit.query.items() if name != "page" and value}
    return urlencode(kept | changes)


def _sorted_by(visit: Visit, column: Order, asked: Asked) -> str:
    """Where the head of a column leads: by it, and the other way round when it is by it already."""
    is_down = not asked.is_descending if column == asked.order else column == "at"
    return f"/audit?{_query(visit, sort=column, direction='down' if is_down else 'up')}"
