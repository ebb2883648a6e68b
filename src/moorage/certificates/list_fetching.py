"""Lists are fetched from the URLs that an operator gave, again and again, and never from one that a certificate names.

The next time comes when half of what is left until `nextUpdate` has passed, but within the hour, so that a revocation
that is published is known within an hour at the most. After a failure it is tried again in a minute, then in two, up to
an hour. Times are spread by a fifth, so that a fleet of hubs does not come all at once. Of two apps on one store the
one that claims a fetch first makes it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from moorage.certificates.revocation import IssuerState, RevocationService
from moorage.certificates.revocation_model import CRLIssuer, CRLIssuerId, RevocationTables
from moorage.clock import Clock
from moorage.errors import Conflict, Refusal
from moorage.ids import HubId
from moorage.store import Store

__all__ = ["FETCH_AT_LEAST", "FETCH_AT_MOST", "FETCH_CLAIM", "Fetched", "GetList", "ListFetcher"]

log = logging.getLogger(__name__)

# Between two fetches of one list that succeed, and between tries that fail.
FETCH_AT_LEAST: Final = timedelta(minutes=1)
FETCH_AT_MOST: Final = timedelta(hours=1)
# Whoever fetches has so long; then another one may.
FETCH_CLAIM: Final = timedelta(minutes=5)
_AT_ONCE: Final = 4
_MAX_FAILURES: Final = 10
_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class Fetched:
    """`content` is None when the server says that nothing changed."""

    content: bytes | None
    etag: str | None


# GET of a URL, conditional on an etag. Raises `Refusal` for whatever goes wrong, a status that is no success included.
GetList = Callable[[str, str | None], Awaitable[Fetched]]


class ListFetcher:
    """Fetches the lists of one hub: by their times in `fetch_due`, and at once in `fetch`."""

    def __init__(
        self,
        hub: HubId,
        store: Store[RevocationTables],
        service: RevocationService,
        clock: Clock,
        get: GetList,
    ) -> None:
        self._hub = hub
        self._store = store
        self._service = service
        self._clock = clock
        self._get = get
        # Not the seeded generator that tests share: two hubs must not keep step.
        self._random = random.SystemRandom()

    async def fetch_due(self) -> None:
        """Fetch those whose time has come, a few at a time; to be called every few seconds."""
        now = self._clock.now()
        due = [
            issuer
            for issuer in self._store.read().revocation.issuers(self._hub)
            if issuer.next_fetch is not None and issuer.next_fetch <= now
        ]
        await asyncio.gather(*(self._fetch_by_schedule(issuer, now) for issuer in due[:_AT_ONCE]))

    async def _fetch_by_schedule(self, issuer: CRLIssuer, now: datetime) -> None:
        def claim(tables: RevocationTables) -> bool:
            present = tables.revocation.find_issuer(self._hub, issuer.issuer_id)
            if present is None or present.next_fetch is None or present.next_fetch > now:
                return False
            tables.revocation.put_issuer(replace(present, next_fetch=now + FETCH_CLAIM))
            return True

        try:
            if await self._store.write(claim):
                await self.fetch(issuer.issuer_id, by="schedule")
        except Refusal as refusal:
            subject = issuer.certificate.subject
            log.warning("crl_not_fetched issuer=%r reason=%s message=%r", subject, refusal.reason, refusal.message)

    async def fetch(self, issuer_id: CRLIssuerId, *, by: str) -> IssuerState:
        """Fetch a list now.

        Raises:
            NotFound: `crl.issuer_unknown`. Conflict: `crl.no_url`.
            Refusal: whatever kept it from being fetched or taken; it is written down too.
        """
        issuer = self._service.get(issuer_id).issuer
        if issuer.crl_url is None:
            raise Conflict(
                "crl.no_url",
                f"nobody gave a URL for the list of '{issuer.certificate.subject}'",
                fix="moorage ca crl url CA URL",
            )
        try:
            fetched = await self._get(issuer.crl_url, issuer.etag)
            if fetched.content is not None:
                async with self._service.turn:
                    await self._service.add(fetched.content, by=by, expected=issuer_id, etag=fetched.etag)
        except Refusal as refusal:
            await self._failed(issuer_id, f"{refusal.reason}: {refusal.message}"[:_SHOWN])
            raise
        now = self._clock.now()
        state = self._service.get(issuer_id)
        pause = self._pause(state, now)
        await self._change(
            issuer_id,
            lambda present: replace(present, fetched=now, failed=None, failures=0, next_fetch=now + pause),
        )
        return self._service.get(issuer_id)

    def _pause(self, state: IssuerState, now: datetime) -> timedelta:
        # The latest list alone: that of a key which the CA does not sign with any more is kept and never followed.
        complete = (each for each in state.lists if each.kind == "complete")
        latest = max(complete, key=lambda each: each.this_update, default=None)
        left = FETCH_AT_MOST if latest is None else (latest.next_update - now) / 2
        return self._spread(min(max(left, FETCH_AT_LEAST), FETCH_AT_MOST))

    async def _failed(self, issuer_id: CRLIssuerId, why: str) -> None:
        now = self._clock.now()

        def after(present: CRLIssuer) -> CRLIssuer:
            failures = min(present.failures + 1, _MAX_FAILURES)
            pause = min(FETCH_AT_LEAST * 2 ** (failures - 1), FETCH_AT_MOST)
            return replace(present, failed=why, failures=failures, next_fetch=now + self._spread(pause))

        await self._change(issuer_id, after)

    async def _change(self, issuer_id: CRLIssuerId, change: Callable[[CRLIssuer], CRLIssuer]) -> None:
        """Of what is noted about fetching; nothing that others need to hear of."""

        def work(tables: RevocationTables) -> None:
            present = tables.revocation.find_issuer(self._hub, issuer_id)
            # Somebody may have taken it out meanwhile, or its URL.
            if present is not None and present.crl_url is not None:
                tables.revocation.put_issuer(change(present))

        await self._store.write(work)

    def _spread(self, pause: timedelta) -> timedelta:
        return pause * self._random.uniform(0.8, 1.0)
