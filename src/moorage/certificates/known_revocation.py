"""What this app knows about revocation now: the answer to every validator's question, without waiting for anybody.

    lists in the store ──► read again when one changes ──► ListedRevocation ─┐
    OCSP responders ─────► asked in the background ──────► held until then ──┴─► status(path, position, now)

The store is the truth: each change of it comes as `revocation.changed`, in every app on the same store. Then the lists
that are new are read in a thread, the knowledge is exchanged in one step on the event loop, and whoever listens is
told, so that sessions end which hang on what is revoked now. A CONNECT is judged and indexed in one turn of the loop:
either it was judged by the new knowledge, or the listener finds it.

Lists speak before answers, and whoever of the two calls a certificate revoked wins. What a responder said is held until
its answer ends; nobody waits for one: with no answer at hand the policy decides, and the question is handed to
`on_question`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from moorage.certificates.revocation_model import CRLIssuer, CRLIssuerId, OcspRevocation, RevocationTables, StoredList
from moorage.errors import Invalid, Unavailable
from moorage.events import Bus, Event
from moorage.ids import HubId, Thumbprint
from moorage.pki.certificates import Certificate
from moorage.pki.distinguished_names import FoldedName
from moorage.pki.listed_revocation import SKEW, ListedRevocation
from moorage.pki.ocsp import Answer
from moorage.pki.revocation import GOOD, Good, Policy, Revoked, Status, Unknown
from moorage.pki.revocation_lists import RevocationList, unpack_revocation_list
from moorage.store import Store

__all__ = ["MAX_ANSWERS", "KnownRevocation", "Warned"]

log = logging.getLogger(__name__)

# Held answers, the least asked for forgotten first: 100,000 take some 40 MB.
MAX_ANSWERS: Final = 100_000
# A list is said to be nearly overdue when less than this part of its time is left.
_NEARLY: Final = 0.2
_AT_ONCE: Final = datetime.min.replace(tzinfo=UTC)
_ASK_AGAIN_AT_LEAST: Final = timedelta(minutes=1)
_ASK_AGAIN_AT_MOST: Final = timedelta(hours=1)

# By the certificate of the issuer, SHA-256, and the serial number.
_Question = tuple[Thumbprint, int]


class Warned(NamedTuple):
    """Something that an operator should know before devices notice. `kind` is `crl.overdue` or the like."""

    kind: str
    issuer_id: CRLIssuerId
    message: str


@dataclass(frozen=True, slots=True)
class _Held:
    answer: Answer
    ask_again: datetime


class KnownRevocation:
    """Port: `pki.revocation.Revocation`, for one hub. To be used on one event loop; subscribes at once.

    `on_question(certificate, issuer)` is told of answers that are wanted. `on_change` is awaited after each exchange.
    """

    def __init__(self, hub: HubId, store: Store[RevocationTables], bus: Bus) -> None:
        self._hub = hub
        self._store = store
        self.on_question: Callable[[Certificate, Certificate], None] | None = None
        self.on_change: Callable[[], Awaitable[None]] | None = None
        self._issuers: dict[FoldedName, CRLIssuer] = {}
        self._stored: dict[str, StoredList] = {}
        self._lists: dict[str, RevocationList] = {}
        self._by_name: dict[FoldedName, list[RevocationList]] = {}
        self._listed = ListedRevocation(())
        self._stored_answers: set[_Question] = set()
        self._answers: OrderedDict[_Question, _Held] = OrderedDict()
        # By serial number alone: a hint, which `status` judges.
        self._revoked_by_answer: Counter[int] = Counter()
        self._marked = 0
        self._read = 0
        self._reading: asyncio.Task[None] | None = None
        self._unsubscribe = bus.subscribe(self._heard)

    async def close(self) -> None:
        self._unsubscribe()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    # -- Revocation ----------------------------------------------------------------------------------------------------

    def policy(self, issuer: Certificate) -> Policy:
        name = issuer.subject_key
        found = self._issuers.get(name)
        return "off" if found is None else found.effective_policy(has_list=name in self._by_name)

    def status(self, path: Sequence[Certificate], position: int, now: datetime) -> Status:
        listed = self._listed.status(path, position, now)
        certificate, issuer = path[position], path[position + 1]
        found = self._issuers.get(issuer.subject_key)
        if isinstance(listed, Revoked) or found is None or found.ocsp_url is None:
            return listed
        answered = self._answered(certificate, issuer, now)
        if isinstance(answered, Revoked):
            return answered
        if isinstance(listed, Good) or isinstance(answered, Good):
            return GOOD
        return Unknown(f"{listed.why}, and {answered.why}" if self._by_name.get(issuer.subject_key) else answered.why)

    # -- for whoever ends sessions -------------------------------------------------------------------------------------

    def may_be_revoked(self, issuer: FoldedName, serial: int) -> bool:
        """Whether some list or answer names that certificate; if not, none does."""
        if issuer not in self._issuers:
            return False
        if self._revoked_by_answer[serial]:
            return True
        return any(each.find(issuer, serial) is not None for each in self._by_name.get(issuer, ()))

    def is_to_be_asked(self, issuer: Certificate, serial: int, now: datetime) -> bool:
        """Whether a responder should be asked, first or again, about a certificate of `issuer`."""
        found = self._issuers.get(issuer.subject_key)
        if found is None or found.ocsp_url is None or self.policy(issuer) == "off":
            return False
        held = self._answers.get((issuer.sha256, serial))
        return held is None or held.ask_again <= now

    @property
    def asks_responders(self) -> bool:
        return any(issuer.ocsp_url is not None for issuer in self._issuers.values())

    # -- answers -------------------------------------------------------------------------------------------------------

    def responder_of(self, issuer: Certificate) -> str | None:
        """The URL that the operator gave."""
        found = self._issuers.get(issuer.subject_key)
        return None if found is None else found.ocsp_url

    def hold(self, certificate: Certificate, issuer: Certificate, answer: Answer, now: datetime) -> None:
        """Remember what a responder said, or that it could not be asked."""
        self._hold((issuer.sha256, certificate.serial_number), answer, now)

    def is_held_revoked(self, certificate: Certificate, issuer: Certificate) -> bool:
        held = self._answers.get((issuer.sha256, certificate.serial_number))
        return held is not None and isinstance(held.answer.status, Revoked)

    def signers_revocation(self) -> ListedRevocation:
        """What lists say, for the certificates of responders."""
        return self._listed

    def _answered(self, certificate: Certificate, issuer: Certificate, now: datetime) -> Status:
        question = (issuer.sha256, certificate.serial_number)
        held = self._answers.get(question)
        if (held is None or held.ask_again <= now) and self.on_question is not None:
            self.on_question(certificate, issuer)
        if held is None:
            return Unknown(
                f"the OCSP responder of '{certificate.issuer}' was not asked since the hub began; it is asked now, and "
                "by its answer the next connection is judged"
            )
        self._answers.move_to_end(question)
        # A revocation that was answered once does not end because nobody could be asked again.
        if held.answer.until < now - SKEW and not isinstance(held.answer.status, Revoked):
            return Unknown(f"the answer of the OCSP responder of '{certificate.issuer}' is too old")
        return held.answer.status

    def _hold(self, question: _Question, answer: Answer, now: datetime) -> None:
        known = self._answers.get(question)
        if known is not None and isinstance(answer.status, Unknown) and not isinstance(known.answer.status, Unknown):
            # Nobody could say: what was said before holds for as long as it does.
            answer = known.answer
            ask_again = now + _ASK_AGAIN_AT_LEAST
        else:
            half = (answer.until - now) / 2
            ask_again = now + min(max(half, _ASK_AGAIN_AT_LEAST), _ASK_AGAIN_AT_MOST)
        self._put(question, _Held(answer, ask_again))

    def _put(self, question: _Question, held: _Held) -> None:
        self._drop(question)
        self._answers[question] = held
        if isinstance(held.answer.status, Revoked):
            self._revoked_by_answer[question[1]] += 1
        if len(self._answers) > MAX_ANSWERS:
            self._drop(next(iter(self._answers)))

    def _drop(self, question: _Question) -> None:
        held = self._answers.pop(question, None)
        if held is not None and isinstance(held.answer.status, Revoked):
            self._revoked_by_answer[question[1]] -= 1
            if not self._revoked_by_answer[question[1]]:
                del self._revoked_by_answer[question[1]]

    # -- keeping up with the store -------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Read what is committed now; when it returns, it is known and was acted upon. Raises `Unavailable`."""
        wanted = self._mark()
        reading = self._reading
        if reading is not None:
            await asyncio.shield(reading)
        if self._read < wanted:
            raise Unavailable("store.unread", "what the store holds about revocation could not be read")

    @property
    def is_behind(self) -> bool:
        """Whether the last reading failed."""
        return self._read < self._marked and (self._reading is None or self._reading.done())

    def catch_up(self) -> None:
        """Try again, in the background."""
        self._mark()

    def _heard(self, event: Event) -> None:
        if event.kind == "revocation.changed" and event.hub == self._hub:
            self._mark()

    def _mark(self) -> int:
        self._marked += 1
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_on())
        return self._marked

    async def _read_on(self) -> None:
        while self._read < self._marked:
            target = self._marked
            try:
                await self._read_once()
            except Unavailable as refusal:
                log.warning("revocation_not_read reason=%s message=%r", refusal.reason, refusal.message)
                return
            self._read = target

    async def _read_once(self) -> None:
        hub, present = self._hub, frozenset(self._lists)
        issuers, stored, read, answers = await self._store.scan(lambda tables: _read(tables, hub, present))
        lists = {each.list_id: self._lists[each.list_id] for each in stored if each.list_id in present} | read
        self._exchange(issuers, stored, lists, answers)
        if self.on_change is not None:
            await self.on_change()

    def _exchange(
        self,
        issuers: list[CRLIssuer],
        stored: list[StoredList],
        lists: dict[str, RevocationList],
        answers: list[OcspRevocation],
    ) -> None:
        self._issuers = {issuer.certificate.subject_key: issuer for issuer in issuers}
        self._stored = {each.list_id: each for each in stored}
        self._lists = lists
        by_name: dict[FoldedName, list[RevocationList]] = {}
        for each in lists.values():
            by_name.setdefault(each.issuer_key, []).append(each)
        # Figures are read in a thread: each of these is exchanged whole.
        self._by_name = by_name
        signers = [each.signer for each in stored] + [issuer.certificate for issuer in issuers]
        self._listed = ListedRevocation(lists.values(), signers=signers)
        revoked = {(answer.issuer, answer.serial) for answer in answers}
        for question in self._stored_answers - revoked:
            # The responder calls it good now, or another app heard so.
            held = self._answers.get(question)
            if held is not None and isinstance(held.answer.status, Revoked):
                self._drop(question)
        self._stored_answers = revoked
        for answer in answers:
            question = (answer.issuer, answer.serial)
            held = self._answers.get(question)
            if held is None or held.answer.status != answer.revoked:
                # To be asked again at the next occasion: it may be long ago that this was stored.
                self._put(question, _Held(Answer(answer.revoked, answer.until), _AT_ONCE))

    # -- for operators -------------------------------------------------------------------------------------------------

    def entries(self) -> int:
        """Of all lists."""
        return sum(map(len, self._lists.values()))

    def next_updates(self) -> Iterator[tuple[CRLIssuer, datetime]]:
        """When each issuer's complete list is due to be replaced, the first of several."""
        for issuer in list(self._issuers.values()):
            due = [each.next_update for each in self._complete(issuer)]
            if due:
                yield issuer, min(due)

    def warnings(self, now: datetime) -> list[Warned]:
        """What goes wrong, or will soon."""
        found: list[Warned] = []
        for issuer in self._issuers.values():
            policy = self.policy(issuer.certificate)
            if policy == "off":
                continue
            subject = issuer.certificate.subject
            ends = (
                "nobody with a certificate of its is let in" if policy == "hard" else "new revocations are not noticed"
            )
            lists = self._complete(issuer)
            if not lists and issuer.ocsp_url is None and policy == "hard":
                message = f"there is no list of '{subject}', whose policy is hard: {ends}"
                found.append(Warned("crl.missing", issuer.issuer_id, message))
            for each in lists:
                left, whole = each.next_update - now, each.next_update - each.this_update
                due = f"{each.next_update:%Y-%m-%d %H:%M} UTC"
                if left < -SKEW:
                    message = f"list {each.number} of '{subject}' was to be replaced at {due}: {ends}"
                    found.append(Warned("crl.overdue", issuer.issuer_id, message))
                elif left < whole * _NEARLY:
                    message = f"list {each.number} of '{subject}' has to be replaced by {due}, after which {ends}"
                    found.append(Warned("crl.nearly_overdue", issuer.issuer_id, message))
        return found

    def _complete(self, issuer: CRLIssuer) -> list[RevocationList]:
        lists = self._by_name.get(issuer.certificate.subject_key, ())
        return [each for each in lists if each.base_number is None]


def _read(
    tables: RevocationTables, hub: HubId, present: frozenset[str]
) -> tuple[list[CRLIssuer], list[StoredList], dict[str, RevocationList], list[OcspRevocation]]:
    """All of one moment, with the lists that are not `present` yet."""
    table = tables.revocation
    stored = table.lists(hub)
    read: dict[str, RevocationList] = {}
    for each in stored:
        if each.list_id in present:
            continue
        try:
            read[each.list_id] = unpack_revocation_list(table.packed(hub, each.list_id))
        except Invalid as refusal:
            # Then nobody knows what it said, and the policy decides.
            log.error("revocation_list_unreadable list=%s message=%r", each.list_id, refusal.message)
    return table.issuers(hub), stored, read, table.ocsp_revocations(hub)
