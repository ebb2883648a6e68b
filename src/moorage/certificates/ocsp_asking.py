"""OCSP responders are asked in the background, at the URLs that an operator gave (RFC 6960 appendix A, by POST).

Whoever needs an answer finds the one that is held or none; the question is put here and asked soon. An answer that
calls a certificate revoked is written down and told as `revocation.changed`, so that every app on the store knows it
and ends the sessions that hang on it. Questions wait in a bounded line: one that finds no room is dropped, and comes
again with the next connection or round.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from moorage.certificates.known_revocation import KnownRevocation
from moorage.certificates.revocation_model import OcspRevocation, RevocationTables, issuer_id_of
from moorage.clock import Clock
from moorage.errors import Refusal
from moorage.events import Event
from moorage.ids import HubId, Thumbprint
from moorage.pki.certificates import Certificate
from moorage.pki.ocsp import NONCE_BYTES, Answer, make_request, read_response
from moorage.pki.revocation import Good, Revoked, Unknown
from moorage.store import Store

__all__ = ["MAX_QUESTIONS", "OcspAsker", "PostQuestion"]

log = logging.getLogger(__name__)

MAX_QUESTIONS: Final = 1000
_AT_ONCE: Final = 4
# No certificate of a device should live longer than that after it was revoked.
_REMEMBERED: Final = timedelta(days=1200)
# How long nobody is asked again after a responder did not answer.
_SILENCE: Final = timedelta(minutes=1)

# POST of a request, DER, to a URL; the answer's body. Raises `Refusal`.
PostQuestion = Callable[[str, bytes], Awaitable[bytes]]


class OcspAsker:
    """Asks for one hub. `put` takes a question; `start` begins to work them off, `close` ends that."""

    def __init__(
        self,
        hub: HubId,
        store: Store[RevocationTables],
        known: KnownRevocation,
        clock: Clock,
        post: PostQuestion,
    ) -> None:
        self._hub = hub
        self._store = store
        self._known = known
        self._clock = clock
        self._post = post
        self._waiting: asyncio.Queue[tuple[Certificate, Certificate]] = asyncio.Queue(MAX_QUESTIONS)
        self._asked: set[tuple[Thumbprint, int]] = set()
        self._workers: list[asyncio.Task[None]] = []
        # What a responder failed at the last time, by the id of the issuer.
        self.failures: dict[str, str] = {}

    def start(self) -> None:
        self._workers = [asyncio.create_task(self._work()) for _ in range(_AT_ONCE)]

    async def close(self) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def put(self, certificate: Certificate, issuer: Certificate) -> None:
        """Have it asked, unless it is under way or there is no room."""
        question = (issuer.sha256, certificate.serial_number)
        if question in self._asked or self._waiting.full():
            return
        self._asked.add(question)
        self._waiting.put_nowait((certificate, issuer))

    async def _work(self) -> None:
        while True:
            certificate, issuer = await self._waiting.get()
            try:
                await self._ask(certificate, issuer)
            except Exception:
                log.exception("ocsp_failed issuer=%r serial=%X", issuer.subject, certificate.serial_number)
            finally:
                self._asked.discard((issuer.sha256, certificate.serial_number))

    async def _ask(self, certificate: Certificate, issuer: Certificate) -> None:
        url = self._known.responder_of(issuer)
        if url is None:
            return
        issuer_id = issuer_id_of(issuer.subject_key)
        nonce = secrets.token_bytes(NONCE_BYTES)
        try:
            data = await self._post(url, make_request(certificate, issuer, nonce))
            now = self._clock.now()
            lists = self._known.signers_revocation()
            answer = read_response(data, certificate, issuer, nonce, now, revocation=lists)
            self.failures.pop(issuer_id, None)
        except Refusal as refusal:
            now = self._clock.now()
            why = f"the OCSP responder of '{issuer.subject}' gave no answer: {refusal.reason}: {refusal.message}"
            if issuer_id not in self.failures:
                log.warning("ocsp_unanswered issuer=%r reason=%s message=%r", issuer.subject, refusal.reason, why)
            self.failures[issuer_id] = why
            answer = Answer(Unknown(why), now + _SILENCE)
        was_revoked = self._known.is_held_revoked(certificate, issuer)
        if isinstance(answer.status, Revoked) and not was_revoked:
            await self._tell(certificate, issuer, answer.status, answer)
        elif isinstance(answer.status, Good) and was_revoked:
            await self._take_back(certificate, issuer)
        self._known.hold(certificate, issuer, answer, now)

    async def _tell(self, certificate: Certificate, issuer: Certificate, revoked: Revoked, answer: Answer) -> None:
        found = OcspRevocation(self._hub, issuer.sha256, certificate.serial_number, revoked, answer.until)
        now = self._clock.now()

        def work(tables: RevocationTables) -> None:
            tables.revocation.delete_ocsp_revocations(self._hub, now - _REMEMBERED)
            tables.revocation.put_ocsp_revocation(found)
            issuer_id = issuer_id_of(issuer.subject_key)
            tables.outbox.emit(Event("revocation.changed", self._hub, issuer_id))

        await self._store.write(work)
        log.warning("ocsp_revoked %s", revoked.said_of(certificate))

    async def _take_back(self, certificate: Certificate, issuer: Certificate) -> None:
        """It was on hold, and is not any more."""

        def work(tables: RevocationTables) -> None:
            tables.revocation.delete_ocsp_revocation(self._hub, issuer.sha256, certificate.serial_number)
            tables.outbox.emit(Event("revocation.changed", self._hub, issuer_id_of(issuer.subject_key)))

        await self._store.write(work)
        log.warning("ocsp_good_again certificate=%r serial=%X", certificate.subject, certificate.serial_number)
