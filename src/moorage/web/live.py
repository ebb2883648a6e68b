"""Streams that open pages hold: at most so many at once, each as long as whoever opened it is signed in and may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from moorage.accounts.service import Accounts
from moorage.errors import Exhausted
from moorage.web.pages import Visit
from moorage.web.sign_in import COOKIE

__all__ = ["HEARTBEAT_S", "MAX_LIVE_PAGES", "LivePages"]

MAX_LIVE_PAGES: Final = 64
HEARTBEAT_S: Final = 15.0


class LivePages:
    """The streams of one kind of page."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._open = 0

    def check_room(self) -> None:
        """Raises `Exhausted` (`telemetry.followers`)."""
        if self._open >= MAX_LIVE_PAGES:
            raise Exhausted(
                "telemetry.followers",
                f"{self._open} pages follow devices already, {MAX_LIVE_PAGES} may",
                retry_after_s=30,
            )

    @contextmanager
    def place(self) -> Iterator[None]:
        """For as long as the stream lasts."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def is_signed_in(self, visit: Visit) -> bool:
        """Looked up again each time: whoever signs out, or may or sees something else than when it began, hears no
        more. A page whose reader may still follow connects again by itself."""
        known = self._accounts.session(visit.request.cookies.get(COOKIE, ""))
        return known is not None and self._accounts.actor(known[1]) == visit.actor
