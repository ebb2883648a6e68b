"""Certificates that end: a curve, a calendar, a table, and a feed for people's own calendars (central.md 25)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.responses import Response

from moorage.accounts.model import UserId
from moorage.dialects.calendar import CalendarDay, calendar_text
from moorage.errors import Invalid
from moorage.fleet.forecast import HORIZON, SPAN, Authority, Outlook, remaining
from moorage.web.curve import curve_of
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["KINDS", "Month", "forecast_pages", "months_of"]

KINDS: Final = {
    "server": "This hub",
    "server CA": "This hub's CA",
    "CA": "Registered CA",
    "group": "Device connection group",
    "intermediate": "Intermediate, seen in chains",
}
_STEP: Final = timedelta(days=3)
_ROWS: Final = 100
_MONTHS: Final = 13
# Events of a feed; a year has fewer days.
_EVENTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Month:
    """What ends in a month. `level` is 0 to 4, for its colour."""

    begin: datetime
    devices: int
    authorities: tuple[Authority, ...]
    level: int

    @property
    def name(self) -> str:
        return f"{self.begin:%Y-%m}"


def forecast_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Forecasts(services, renderer)
    return [
        Page("GET", "/certificates", pages.show, "certificates.view"),
        Page("GET", "/certificates/ending", pages.ending, "certificates.view"),
        Page("POST", "/certificates/calendar", pages.new_feed, "certificates.view"),
        Page("GET", "/calendar/{user_id}/{token}", pages.feed, "public"),
    ]


class _Forecasts:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._renderer = renderer

    async def show(self, visit: Visit, feed: str = "") -> Response:
        await self._services.sightings.catch_up()
        outlook = await self._services.forecast.look(visit.actor)
        points = remaining(outlook, _STEP, HORIZON // _STEP)
        return await self._renderer.long_page(
            visit,
            "certificates/forecast.html",
            outlook=outlook,
            curve=curve_of(points, outlook.authorities) if outlook.devices else None,
            months=months_of(outlook),
            later=sum(each.devices for each in outlook.endings if each.since >= _month_after(outlook.now, _MONTHS)),
            kinds=KINDS,
            soon=outlook.now + timedelta(days=30),
            feed=feed,
            has_feed=visit.user is not None and self._services.feeds.has(visit.user),
            tab="forecast",
        )

    async def ending(self, visit: Visit) -> Response:
        """Devices whose certificate ends in a month, or has ended. Raises `Invalid` (`query.month`)."""
        await self._services.sightings.catch_up()
        now, name = self._services.clock.now(), visit.query.get("month", "")
        if name == "expired":
            since, until = datetime(1970, 1, 1, tzinfo=UTC), now
        else:
            try:
                since = datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC)
                until = _month_after(since, 1)
            except ValueError:
                raise Invalid("query.month", f"{name[:20]!r} is no month; write it like {now:%Y-%m}") from None
        text = visit.query.get("from", "0")
        start = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0
        found = await self._services.forecast.ending(visit.actor, since, until, _ROWS + 1, start)
        return await self._renderer.long_page(
            visit,
            "certificates/ending.html",
            rows=found[:_ROWS],
            next=start + _ROWS if len(found) > _ROWS else 0,
            month=name,
            title="Expired" if name == "expired" else f"{since:%B %Y}",
            tab="forecast",
        )

    # -- the feed ------------------------------------------------------------------------------------------------------

    async def new_feed(self, visit: Visit) -> Response:
        """An address for whoever is signed in, shown once; the one before is void."""
        assert visit.user is not None  # the gate is a permission
        token = await self._services.feeds.make(visit.user, by=visit.by)
        base = self._services.info().web_url or ""
        return await self.show(visit, f"{base}calendar/{visit.user.user_id}/{token.reveal()}.ics")

    async def feed(self, visit: Visit) -> Response:
        """Raises `NotFound` (`route.unknown`)."""
        services = self._services
        token = visit.path["token"][:128].removesuffix(".ics")
        actor = services.feeds.subscriber(UserId(visit.path["user_id"][:64]), token)
        outlook = await services.forecast.look(actor)
        base = (services.info().web_url or "").rstrip("/")
        days = [*_authority_days(outlook, services.hub_name, base), *_device_days(outlook, services.hub_name, base)]
        text = calendar_text(f"Certificates of {services.hub_name}", days[:_EVENTS], outlook.now)
        return Response(text, media_type="text/calendar; charset=utf-8")


def months_of(outlook: Outlook) -> list[Month]:
    """This month and the year that follows."""
    begin = outlook.now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    spans = [(_month_after(begin, number), _month_after(begin, number + 1)) for number in range(_MONTHS)]
    counts = [
        sum(each.devices for each in outlook.endings if since <= each.since < until and each.since + SPAN > outlook.now)
        for since, until in spans
    ]
    most = max(counts)
    return [
        Month(
            since,
            count,
            tuple(each for each in outlook.authorities if since <= each.certificate.not_after < until),
            0 if not count else min(4, 1 + 4 * count // (most + 1)),
        )
        for (since, until), count in zip(spans, counts, strict=True)
    ]


def _month_after(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)


def _authority_days(outlook: Outlook, hub: str, base: str) -> list[CalendarDay]:
    return [
        CalendarDay(
            f"{each.certificate.sha256}-{each.kind.replace(' ', '-')}@{hub}",
            each.certificate.not_after.date(),
            f"{each.certificate.subject or each.name} ends ({KINDS[each.kind]})",
            f"{each.name + '. ' if each.name else ''}{each.devices} devices below it were seen.",
            f"{base}/certificates",
        )
        for each in outlook.authorities
        if each.certificate.not_after <= outlook.now + HORIZON
    ]


def _device_days(outlook: Outlook, hub: str, base: str) -> list[CalendarDay]:
    return [
        CalendarDay(
            f"devices-{each.since:%Y%m%d}@{hub}",
            each.since.date(),
            f"{each.devices} device certificate{'s end' if each.devices != 1 else ' ends'}",
            "",
            f"{base}/certificates/ending?month={each.since:%Y-%m}",
        )
        for each in outlook.endings
        if outlook.now - SPAN < each.since <= outlook.now + HORIZON
    ]
