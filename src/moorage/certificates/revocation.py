"""Revocation lists and what is decided for their publishers: added, set, forgotten. Each change is durable before it
is answered, told as `revocation.changed`, known in this app and acted upon, and written to the audit log.

A list is taken when

  1. it is complete or a delta, and not indirect: the entries of an indirect one speak for other CAs, and which of them
     agreed to that stands in certificates that we do not have;
  2. a certificate of its issuer's name signed it, which may sign lists, and which is registered here or vouched for by
     one that is: sent along with the list, or known from before;
  3. it was made by now, and its number is higher than that of the list in whose place it comes (RFC 5280 5.2.3):
     otherwise whoever kept an old one could take back what was revoked since.

It may be overdue: then it says whom it revoked, and makes nobody good.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from moorage.certificates.known_revocation import KnownRevocation
from moorage.certificates.revocation_model import (
    CRLIssuer,
    CRLIssuerId,
    ListKind,
    RevocationTables,
    StoredList,
    issuer_id_of,
)
from moorage.clock import Clock
from moorage.errors import Conflict, Invalid, NotFound, Refusal, TooLarge, Unauthenticated, Unavailable
from moorage.events import Event
from moorage.ids import HubId
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.inputs import parse_certificate
from moorage.pki.keys import is_strong
from moorage.pki.listed_revocation import SKEW
from moorage.pki.policy import CRL_SIGNER_RULES, Rule
from moorage.pki.revocation import Policy
from moorage.pki.revocation_lists import RevocationList
from moorage.pki.validator import TrustAnchors, Validator
from moorage.store import Store

__all__ = [
    "KEEP",
    "MAX_ALL_ENTRIES",
    "MAX_CRL_ISSUERS",
    "IssuerState",
    "Keep",
    "ReadList",
    "RevocationService",
    "Vouchers",
]

MAX_CRL_ISSUERS: Final = 200
# Of all lists together; 30 bytes each in memory.
MAX_ALL_ENTRIES: Final = 3_000_000
_MAX_SENT: Final = 10
_MAX_CANDIDATES: Final = 16
_MAX_URL: Final = 2048
# What a large list is written in: other writers come between.
_PART_BYTES: Final = 1024 * 1024
_DER: Final = b"\x30"
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

audit = logging.getLogger("moorage.audit")

# Reads a list off the event loop: the list, and what `pack` makes of it. Raises as `parse_revocation_list`.
ReadList = Callable[[bytes], Awaitable[tuple[RevocationList, bytes]]]
# Every certificate that vouches for a publisher of lists: registered CAs, and the certificates of groups.
Vouchers = Callable[[], Awaitable[Sequence[Certificate]]]


class Keep:
    """Stands for what is not to be changed."""


KEEP: Final = Keep()


@dataclass(frozen=True, slots=True)
class IssuerState:
    """A publisher as it stands: its settings, the policy that holds, its lists."""

    issuer: CRLIssuer
    policy: Policy
    lists: tuple[StoredList, ...]


class RevocationService:
    """The publishers and lists of one hub. `by` says who asks, for the audit log."""

    def __init__(
        self,
        hub: HubId,
        store: Store[RevocationTables],
        known: KnownRevocation,
        clock: Clock,
        *,
        read_list: ReadList,
        vouchers: Vouchers,
    ) -> None:
        self._hub = hub
        self._store = store
        self._known = known
        self._clock = clock
        self._read_list = read_list
        self._vouchers = vouchers
        # A list may take 64 MiB, and as much again to read it.
        self.turn = asyncio.Lock()

    # -- what is there -------------------------------------------------------------------------------------------------

    def all(self) -> list[IssuerState]:
        tables = self._store.read()
        by_issuer: dict[CRLIssuerId, list[StoredList]] = {}
        for each in tables.revocation.lists(self._hub):
            by_issuer.setdefault(each.issuer_id, []).append(each)
        return [_state(issuer, by_issuer.get(issuer.issuer_id, ())) for issuer in tables.revocation.issuers(self._hub)]

    def get(self, issuer_id: CRLIssuerId) -> IssuerState:
        """Raises `NotFound` (`crl.issuer_unknown`)."""
        return _get(self._store.read(), self._hub, issuer_id)

    # -- changes -------------------------------------------------------------------------------------------------------

    async def add(
        self, content: bytes, *, by: str, expected: CRLIssuerId | None = None, etag: str | None = None
    ) -> IssuerState:
        """Take the list in `content`: DER, or PEM, beside which certificates may stand that vouch for its signer.

        With `expected` it was fetched from the URL of that publisher; `etag` is what the server called it. The list
        that is there already is no error.

        Raises:
            Invalid: `crl.*` when it cannot be read, is nobody's that is known here, or is signed by somebody else.
            Conflict: `crl.older`: a later one is here, or another one of the same number.
            TooLarge: `crl.too_large`, `crl.too_many`.
        """
        now = self._clock.now()
        found, packed = await self._read_list(content)
        if found.this_update > now + SKEW:
            raise Invalid(
                "crl.from_the_future",
                f"the list of '{found.issuer.rfc4514()}' is of {found.this_update:%Y-%m-%d %H:%M:%S} UTC, and it is "
                f"{now:%Y-%m-%d %H:%M:%S} UTC here",
                fix="compare the clocks of this machine and of the CA",
            )
        issuer_id = issuer_id_of(found.issuer_key)
        if expected is not None and issuer_id != expected:
            raise Invalid("crl.another_issuer", f"the URL gave a list of '{found.issuer.rfc4514()}', of another CA")
        sent = await asyncio.to_thread(_certificates_beside, content)
        signer = await self._find_signer(found, sent, now)
        stored = StoredList(
            self._hub,
            await asyncio.to_thread(_digest, packed),
            issuer_id,
            _slot(found, signer),
            _kind(found),
            found.number,
            found.this_update,
            found.next_update,
            len(found),
            signer,
            now,
        )
        self._check_new(self._store.read(), stored)
        await self._write_list(stored, packed, fetched_as=etag if expected is not None else KEEP, now=now)
        _log(
            "crl.added",
            self._hub,
            issuer_id,
            signer.subject,
            by,
            number=found.number,
            kind=_kind(found),
            entries=len(found),
            next_update=found.next_update.isoformat(),
        )
        await self._known.refresh()
        return self.get(issuer_id)

    async def configure(
        self,
        certificate: Certificate,
        *,
        by: str,
        policy: Policy | None | Keep = KEEP,
        crl_url: str | None | Keep = KEEP,
        ocsp_url: str | None | Keep = KEEP,
    ) -> IssuerState:
        """Decide for the CA with this certificate: None takes back what was decided.

        Raises:
            Invalid: `crl.url`; `crl.unvouched` when no registered CA vouches for it.
            TooLarge: `crl.too_many`.
        """
        for url in (crl_url, ocsp_url):
            if isinstance(url, str):
                _check_url(url)
        now, issuer_id = self._clock.now(), issuer_id_of(certificate.subject_key)
        if not certificate.is_ca:
            raise Invalid("crl.unvouched", f"'{certificate.subject}' is no CA, so nobody asks it who is revoked")
        vouchers = await self._vouchers()
        await asyncio.to_thread(_check_vouched, certificate, vouchers, (), now, ())

        def work(tables: RevocationTables) -> CRLIssuer:
            present = tables.revocation.find_issuer(self._hub, issuer_id)
            if present is None:
                self._check_room(tables)
                present = CRLIssuer(self._hub, issuer_id, certificate)
            changed = replace(present, certificate=certificate)
            if not isinstance(policy, Keep):
                changed = replace(changed, policy=policy)
            if not isinstance(ocsp_url, Keep):
                changed = replace(changed, ocsp_url=ocsp_url)
            if not isinstance(crl_url, Keep):
                changed = replace(
                    changed,
                    crl_url=crl_url,
                    etag=None,
                    failed=None,
                    failures=0,
                    next_fetch=None if crl_url is None else now,
                )
            tables.revocation.put_issuer(changed)
            tables.outbox.emit(Event("revocation.changed", self._hub, issuer_id))
            return changed

        issuer = await self._store.write(work)
        # What a URL holds behind its host is often a secret.
        hosts = {"crl_url": _host(issuer.crl_url), "ocsp_url": _host(issuer.ocsp_url)}
        _log("crl.configured", self._hub, issuer_id, certificate.subject, by, policy=issuer.policy, **hosts)
        await self._known.refresh()
        return self.get(issuer_id)

    async def forget(self, issuer_id: CRLIssuerId, *, by: str) -> None:
        """Take out a publisher with its lists and settings: whom they kept out may come back.

        Raises `NotFound` (`crl.issuer_unknown`).
        """

        def work(tables: RevocationTables) -> IssuerState:
            present = _get(tables, self._hub, issuer_id)
            for each in present.lists:
                tables.revocation.delete_list(self._hub, each.list_id)
            tables.revocation.delete_issuer(self._hub, issuer_id)
            tables.outbox.emit(Event("revocation.changed", self._hub, issuer_id))
            return present

        gone = await self._store.write(work)
        _log("crl.forgotten", self._hub, issuer_id, gone.issuer.certificate.subject, by, lists=len(gone.lists))
        await self._known.refresh()

    async def clean_up(self) -> None:
        """What a list left behind whose writing was broken off."""
        await self._store.write(lambda tables: tables.revocation.delete_orphans(self._hub))

    # -- parts ---------------------------------------------------------------------------------------------------------

    async def _find_signer(self, found: RevocationList, sent: Sequence[Certificate], now: datetime) -> Certificate:
        table = self._store.read().revocation
        known = [issuer.certificate for issuer in table.issuers(self._hub)]
        known += [each.signer for each in table.lists(self._hub)]
        vouchers = await self._vouchers()
        return await asyncio.to_thread(_signer_of, found, vouchers, sent, known, now)

    def _check_new(self, tables: RevocationTables, stored: StoredList) -> StoredList | None:
        """The list in whose place it comes. Raises `Conflict`, `TooLarge`."""
        lists = tables.revocation.lists(self._hub)
        present = next((each for each in lists if each.slot == stored.slot), None)
        shown = stored.signer.subject
        if present is not None and present.list_id != stored.list_id and stored.number <= present.number:
            how = "another one of the same number" if stored.number == present.number else f"number {present.number}"
            raise Conflict(
                "crl.older",
                f"the list of '{shown}' has the number {stored.number}, and {how} is here already, of "
                f"{present.this_update:%Y-%m-%d %H:%M:%S} UTC",
                fix="moorage ca crl list",
            )
        others = sum(each.entries for each in lists if each is not present)
        if others + stored.entries > MAX_ALL_ENTRIES:
            raise TooLarge(
                "crl.too_many",
                f"all lists would have {others + stored.entries} entries, at most {MAX_ALL_ENTRIES} are kept",
                fix="moorage ca crl list",
            )
        if tables.revocation.find_issuer(self._hub, stored.issuer_id) is None:
            self._check_room(tables)
        return present

    def _check_room(self, tables: RevocationTables) -> None:
        count = len(tables.revocation.issuers(self._hub))
        if count >= MAX_CRL_ISSUERS:
            raise TooLarge(
                "crl.too_many",
                f"lists of {count} CAs are looked at, {MAX_CRL_ISSUERS} is the limit",
                fix="moorage ca crl list",
            )

    async def _write_list(
        self, stored: StoredList, packed: bytes, *, fetched_as: str | None | Keep, now: datetime
    ) -> None:
        hub, list_id = self._hub, stored.list_id

        def work(tables: RevocationTables) -> None:
            if tables.revocation.packed_size(hub, list_id) != len(packed):
                raise Unavailable("crl.unwritten", "somebody took out a part of the list while it was written")
            replaced = self._check_new(tables, stored)
            tables.revocation.put_list(stored)
            if replaced is not None and replaced.list_id != list_id:
                tables.revocation.delete_list(hub, replaced.list_id)
            present = tables.revocation.find_issuer(hub, stored.issuer_id)
            if present is None:
                present = CRLIssuer(hub, stored.issuer_id, stored.signer)
            if not isinstance(fetched_as, Keep):
                present = replace(present, fetched=now, failed=None, failures=0, etag=fetched_as)
            tables.revocation.put_issuer(present)
            tables.outbox.emit(Event("revocation.changed", hub, stored.issuer_id))

        try:
            await self._write_parts(stored, packed)
            await self._store.write(work)
        except Refusal:
            await self._store.write(lambda tables: tables.revocation.delete_orphans(hub))
            raise

    async def _write_parts(self, stored: StoredList, packed: bytes) -> None:
        if all(each.list_id != stored.list_id for each in self._store.read().revocation.lists(self._hub)):
            for number, at in enumerate(range(0, len(packed), _PART_BYTES)):
                await self._store.write(partial(_put_part, stored, number, packed[at : at + _PART_BYTES]))


def _get(tables: RevocationTables, hub: HubId, issuer_id: CRLIssuerId) -> IssuerState:
    issuer = tables.revocation.find_issuer(hub, issuer_id)
    if issuer is None:
        raise NotFound(
            "crl.issuer_unknown",
            f"nothing is kept about the lists of a CA with the id {issuer_id[:64]!r}",
            fix="moorage ca crl list",
        )
    return _state(issuer, [each for each in tables.revocation.lists(hub) if each.issuer_id == issuer_id])


def _state(issuer: CRLIssuer, lists: Sequence[StoredList]) -> IssuerState:
    return IssuerState(issuer, issuer.effective_policy(has_list=bool(lists)), tuple(lists))


def _put_part(stored: StoredList, number: int, data: bytes, tables: RevocationTables) -> None:
    tables.revocation.put_part(stored.hub, stored.list_id, number, data)


def _kind(found: RevocationList) -> ListKind:
    return "complete" if found.base_number is None else "delta"


def _digest(packed: bytes) -> str:
    return hashlib.sha256(packed).hexdigest()


def _slot(found: RevocationList, signer: Certificate) -> str:
    """What lists share that come in each other's place: signer's key, kind and scope (RFC 5280 5.2.3)."""
    key = signer.x509.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    try:
        point = x509.load_der_x509_crl(found.head).extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        scope = point.value.public_bytes()
    except x509.ExtensionNotFound:
        scope = b""
    digest = hashlib.sha256(key + scope).hexdigest()
    return f"{issuer_id_of(found.issuer_key)}/{_kind(found)}/{digest}"


def _certificates_beside(content: bytes) -> list[Certificate]:
    """Raises `Invalid`: `certificate.*`, `crl.too_large` for more than ten."""
    if content[:1] == _DER:
        return []
    blocks = _CERTIFICATE.findall(content)
    if len(blocks) > _MAX_SENT:
        raise Invalid("crl.too_large", f"{len(blocks)} certificates came with the list; at most {_MAX_SENT} are read")
    return [parse_certificate(block) for block in blocks]


def _signer_of(
    found: RevocationList,
    vouchers: Sequence[Certificate],
    sent: Sequence[Certificate],
    known: Sequence[Certificate],
    now: datetime,
) -> Certificate:
    name, shown = found.issuer_key, found.issuer.rfc4514()
    named = [each for each in dict.fromkeys((*vouchers, *sent, *known)) if each.subject_key == name]
    if not named:
        raise Invalid(
            "crl.unknown_issuer",
            f"the list is of '{shown}', and no certificate of that name is registered here or came with it",
            fix="moorage ca crl add FILE --signer CA_FILE",
        )
    signer = next((each for each in named[:_MAX_CANDIDATES] if _signed(found, each)), None)
    if signer is None:
        raise Invalid(
            "crl.signature",
            f"the key of '{named[0].subject}' (SHA-256 {named[0].sha256}) did not sign the list of that name, or may "
            "not sign lists; is there another CA of the same name?",
            fix="moorage ca crl add FILE --signer CA_FILE",
        )
    _check_vouched(signer, vouchers, (*sent, *known), now, CRL_SIGNER_RULES)
    return signer


def _signed(found: RevocationList, certificate: Certificate) -> bool:
    usage = certificate.extensions.key_usage
    may = usage is None or usage.crl_sign
    return may and is_strong(certificate.public_key) and found.signature.is_by(certificate.public_key)


def _check_vouched(
    certificate: Certificate,
    vouchers: Sequence[Certificate],
    between: Sequence[Certificate],
    now: datetime,
    rules: Sequence[Rule],
) -> None:
    """Raises `Invalid` (`crl.unvouched`)."""
    if certificate in vouchers:
        return
    validator = Validator(TrustAnchors(vouchers, between), usage=None, leaf_rules=rules)
    try:
        validator.validate(PeerChain((certificate.der,)), now)
    except Unauthenticated as refusal:
        raise Invalid(
            "crl.unvouched",
            f"no registered CA vouches for '{certificate.subject}': {refusal.reason}: {refusal.message}",
            fix="moorage ca list",
            checks=refusal.checks,
        ) from refusal


def _check_url(url: str) -> None:
    """What is wrong besides, whoever calls it says. Raises `Invalid` (`crl.url`)."""
    problem = ""
    if len(url) > _MAX_URL:
        problem = f"it has {len(url)} characters, at most {_MAX_URL} are allowed"
    elif not re.fullmatch(r"https?://[!-~]+", url):
        problem = "it has to begin with https:// or http:// and hold no spaces"
    else:
        try:
            parts = urlsplit(url)
            if not parts.hostname or parts.username is not None:
                problem = "it has no host, or a user name, which is not sent"
        except ValueError as error:
            problem = str(error)
    if problem:
        raise Invalid("crl.url", f"this cannot be fetched from: {problem}")


def _host(url: str | None) -> str | None:
    return None if url is None else urlsplit(url).hostname


def _log(event: str, hub: HubId, issuer_id: CRLIssuerId, subject: str, by: str, **more: object) -> None:
    facts = {"hub": hub, "issuer": issuer_id, "subject": subject, **more, "by": by}
    audit.info(
        "%s %s",
        event,
        " ".join(f"{name}={value!r}" for name, value in facts.items()),
        extra={"event": event, "facts": facts},
    )
