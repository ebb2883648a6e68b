"""Sessions end that hang on a certificate which is revoked now, its own or one above it.

`sweep` goes over every certificate that sessions here hang on, and looks closely at those alone that some list or
answer names. It works in turns of a few milliseconds, since a fleet has a hundred thousand of them and the loop has
devices to serve. Only a revocation cuts: that nobody knows keeps new logins out, where the policy is hard, and lets
those stay who are there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from moorage.certificates.known_revocation import KnownRevocation
from moorage.certificates.ocsp_asking import OcspAsker
from moorage.clock import Clock
from moorage.hub.sessions import LiveSession, LiveSessions
from moorage.pki.certificates import Certificate
from moorage.pki.distinguished_names import FoldedName
from moorage.pki.revocation import Revoked

__all__ = ["RevokedSessions"]

_TURN_S: Final = 0.002


class RevokedSessions:
    """For the sessions of one app."""

    def __init__(self, live: LiveSessions, known: KnownRevocation, clock: Clock) -> None:
        self._live = live
        self._known = known
        self._clock = clock

    async def sweep(self) -> None:
        """End what is revoked by what is known now."""
        turn = _Turn()
        for issuer, serial in self._live.serials():
            if self._known.may_be_revoked(issuer, serial):
                for session in self._live.of_serial(issuer, serial):
                    self._judge(session)
                    await turn.pause()
            await turn.pause()

    async def ask(self, asker: OcspAsker) -> None:
        """Have responders asked about certificates that sessions hang on, where it is time."""
        if not self._known.asks_responders:
            return
        turn = _Turn()
        for issuer, serial in self._live.serials():
            for session in self._live.of_serial(issuer, serial)[:1]:
                path = _path(session)
                position = _position(path, issuer, serial)
                if position is not None and self._known.is_to_be_asked(path[position + 1], serial, self._clock.now()):
                    asker.put(path[position], path[position + 1])
            await turn.pause()

    def _judge(self, session: LiveSession) -> None:
        if self._live.find(session.who.identity.hub, session.name) is not session:
            # Gone since the turn began.
            return
        why = self._known_of(_path(session))
        if why is not None:
            session.end("chain.revoked", why)

    def why_revoked(self, leaf: bytes, issuers: Sequence[Certificate]) -> str | None:
        """The sentence about the revoked one among a leaf, DER, and the path above it; None when there is none."""
        path = (Certificate(leaf), *issuers)
        named = any(
            self._known.may_be_revoked(above.subject_key, below.serial_number) for below, above in pairwise(path)
        )
        return self._known_of(path) if named else None

    def _known_of(self, path: tuple[Certificate, ...]) -> str | None:
        now = self._clock.now()
        for position in range(len(path) - 1):
            if self._known.policy(path[position + 1]) == "off":
                continue
            status = self._known.status(path, position, now)
            if isinstance(status, Revoked):
                return status.said_of(path[position])
        return None


class _Turn:
    """Lets others go on from time to time."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    async def pause(self) -> None:
        if time.perf_counter() - self._began > _TURN_S:
            await asyncio.sleep(0)
            self._began = time.perf_counter()


def _path(session: LiveSession) -> tuple[Certificate, ...]:
    """Leaf first, anchor last; empty for a session that came in otherwise. The leaf is read anew."""
    leaf = session.line().certificate
    return () if leaf is None or not session.who.issuers else (Certificate(leaf), *session.who.issuers)


def _position(path: tuple[Certificate, ...], issuer: FoldedName, serial: int) -> int | None:
    return next(
        (
            position
            for position, above in enumerate(path[1:])
            if above.subject_key == issuer and path[position].serial_number == serial
        ),
        None,
    )
