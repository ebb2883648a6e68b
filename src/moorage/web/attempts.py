"""Who tried to get in, and why it was refused: the chain drawn, each check ticked or crossed, the fix to copy."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from starlette.responses import Response

from moorage.attempts.model import Attempt
from moorage.errors import Invalid, NotFound
from moorage.pki.certificates import Certificate
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["Shown", "attempt_pages", "shown_chain"]

_MOST: Final = 100


def attempt_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Attempts(services, renderer)
    return [
        Page("GET", "/attempts", pages.all, "attempts.view"),
        Page("GET", "/attempts/{tracking_id}", pages.show, "attempts.view"),
    ]


@dataclass(frozen=True, slots=True)
class Shown:
    """One certificate as it was sent; `certificate` is None when it cannot be read, which `problem` says."""

    certificate: Certificate | None
    problem: str = ""
    signs_next: bool | None = None


class _Attempts:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._renderer = renderer

    async def all(self, visit: Visit) -> Response:
        device = visit.query.get("device", "").strip()[:128]
        only = visit.query.get("only", "")
        attempts = await self._services.attempts.find(
            self._services.hub, device=device or None, thumbprint=None, tracking_id=None, limit=_MOST
        )
        shown = [each for each in attempts if only != "refused" or not each.is_accepted]
        values: dict[str, Any] = {"attempts": shown, "device": device, "only": only, "most": _MOST}
        if visit.request.headers.get("hx-target") == "attempts":
            return await self._renderer.long_page(visit, "attempts/found.html", **values)
        return await self._renderer.long_page(visit, "attempts/list.html", **values)

    async def show(self, visit: Visit) -> Response:
        tracking_id = visit.path["tracking_id"][:64]
        found = await self._services.attempts.find(
            self._services.hub, device=None, thumbprint=None, tracking_id=tracking_id, limit=1
        )
        if not found:
            raise NotFound("attempt.unknown", f"no attempt with the tracking id '{tracking_id}' is kept")
        attempt = found[0]
        chain = await asyncio.to_thread(shown_chain, attempt)
        return await self._renderer.long_page(visit, "attempts/show.html", attempt=attempt, chain=chain)


def shown_chain(attempt: Attempt) -> list[Shown]:
    """Leaf first, as it came. Whether one names the next as its issuer is a matter of names, not of signatures."""
    read: list[Shown] = []
    for der in attempt.chain:
        try:
            read.append(Shown(Certificate(der)))
        except Invalid as refusal:
            read.append(Shown(None, refusal.message))
    return [
        *(replace(each, signs_next=_is_issued_by(each, following)) for each, following in pairwise(read)),
        *read[-1:],
    ]


def _is_issued_by(each: Shown, following: Shown) -> bool | None:
    if each.certificate is None or following.certificate is None:
        return None
    return each.certificate.issuer == following.certificate.subject
