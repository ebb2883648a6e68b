"""Streams that open pages hold: at most so many at once, each as long as whoever opened it is signed in and may."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from starlette.responses import StreamingResponse

from moorage.accounts.service import Accounts
from moorage.errors import Exhausted
from moorage.web.pages import Visit
from moorage.web.sign_in import COOKIE

__all__ = ["HEARTBEAT_S", "MAX_LIVE_PAGES", "MAX_LIVE_PAGES_OF_ONE", "LivePages", "pause_after"]

MAX_LIVE_PAGES: Final = 64
# So that nobody takes the places of everybody else.
MAX_LIVE_PAGES_OF_ONE: Final = 16
HEARTBEAT_S: Final = 15.0
_AGAIN_S: Final = 30
# What is drawn for many pages has about a third of the time, so that devices do not wait for it (S8).
_BREATHS: Final = 3.0
_LONGEST_S: Final = 10.0


def pause_after(drawing_s: float, pages: int, *, least_s: float) -> float:
    """Seconds until a page is drawn for again, where so many are open and it took `drawing_s` this time."""
    return min(max(least_s, _BREATHS * (pages - 1) * drawing_s), _LONGEST_S)


class LivePages:
    """The streams of one kind of page."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        # By the actor's name.
        self._open: Counter[str] = Counter()

    def stream(self, visit: Visit, events: AsyncGenerator[str, None]) -> StreamingResponse:
        """`events` as an answer. Raises `Exhausted` (`telemetry.followers`)."""
        self._check_room(visit)
        return StreamingResponse(self._placed(visit, events), media_type="text/event-stream")

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open.total()

    def is_signed_in(self, visit: Visit) -> bool:
        """Looked up again each time: whoever signs out, or may or sees something else than when it began, hears no
        more. A page whose reader may still follow connects again by itself."""
        known = self._accounts.session(visit.request.cookies.get(COOKIE, ""))
        return known is not None and self._accounts.actor(known[1]) == visit.actor

    async def _placed(self, visit: Visit, events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        try:
            self._check_room(visit)
        except Exhausted:
            # Of many who asked at one time, each found room; the answer has begun, so the page is told to come later.
            yield f"retry: {_AGAIN_S * 1000}\n\n"
            return
        who = visit.actor.name
        self._open[who] += 1
        try:
            async with aclosing(events):
                async for event in events:
                    yield event
        finally:
            self._open[who] -= 1
            if not self._open[who]:
                del self._open[who]

    def _check_room(self, visit: Visit) -> None:
        for count, most, whose in (
            (self._open[visit.actor.name], MAX_LIVE_PAGES_OF_ONE, "of one user"),
            (self._open.total(), MAX_LIVE_PAGES, "of all users"),
        ):
            if count >= most:
                raise Exhausted(
                    "telemetry.followers",
                    f"{count} pages {whose} follow devices already, {most} may",
                    retry_after_s=_AGAIN_S,
                )
