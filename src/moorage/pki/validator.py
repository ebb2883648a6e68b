"""Path building and validation: from a device's certificate up to a CA that is trusted here (RFC 5280 6.1).

A `Validator` holds one version of the trust anchors and judges what peers sent. It builds a path from the leaf to an
anchor (with the name constraints of 4.2.1.10 and without policies) out of the anchors, the certificates the peer sent
and intermediates known here. An anchor may be an intermediate; nothing above it counts. What is asked of each
certificate, in which order, and what bounds the search is listed in `policy.py`.

What is remembered between calls is who may issue under an anchor: a path of CAs, found good once for exactly the
certificates that were sent beside the leaf, with dates looked at again each time. A verdict never depends on what
another peer has sent. A known issuer leaves one signature to verify, the leaf's, and no text is built. Revocation is
never remembered: it is asked each time.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from moorage.errors import Check, Invalid, Unauthenticated
from moorage.pki.certificates import Certificate, PeerChain, VerifiedChain
from moorage.pki.distinguished_names import FoldedName
from moorage.pki.fixes import new_ca_and_leaf, new_leaf, register_root, send_intermediates
from moorage.pki.name_constraints import find_violation
from moorage.pki.policy import (
    ANCHOR_RULES,
    ISSUER_KEY,
    ISSUER_RULES,
    LEAF_RULES,
    MAX_CERTIFICATES,
    MAX_CHAIN_BYTES,
    MAX_SIGNATURE_CHECKS,
    Rule,
    apply_rules,
    is_signed_by,
    parse_within_bounds,
    with_unreached,
)
from moorage.pki.requirements import Asked, find_waived
from moorage.pki.revocation import Good, Revocation, Revoked
from moorage.pki.waivers import NO_WAIVERS, Waived, Waivers

__all__ = ["TrustAnchors", "Validator"]

# Paths of CAs remembered, each at most `MAX_CHAIN_BYTES`; only a chain that was accepted adds one.
_MAX_KNOWN_PATHS: Final = 512

_REGISTER: Final = "moorage ca add FILE --prove-with KEY"
_KNOW_REVOKED: Final = "moorage ca crl add FILE"
_NOT_REVOKED: Final = Check("chain.revoked", True)


class TrustAnchors:
    """CA certificates that are trusted, and intermediates that are merely known.

    `anchors` are proven (or vouched for); `intermediates` are trusted for nothing and only help to complete the chain
    of a client that sends its leaf alone.
    """

    __slots__ = ("_anchors", "_by_subject", "anchors")

    def __init__(self, anchors: Iterable[Certificate], intermediates: Iterable[Certificate] = ()) -> None:
        self.anchors: tuple[Certificate, ...] = tuple(dict.fromkeys(anchors))
        self._anchors = frozenset(self.anchors)
        self._by_subject: dict[FoldedName, list[Certificate]] = {}
        for certificate in dict.fromkeys((*self.anchors, *intermediates)):
            self._by_subject.setdefault(certificate.subject_key, []).append(certificate)

    def __contains__(self, certificate: Certificate) -> bool:
        return certificate in self._anchors

    def __len__(self) -> int:
        return len(self.anchors)

    def known_as(self, subject: FoldedName) -> Sequence[Certificate]:
        """Anchors of that name first, then known intermediates."""
        return self._by_subject.get(subject, ())


@dataclass(frozen=True, slots=True)
class _KnownPath:
    """CAs from the leaf's issuer up to the anchor, found good; dates apart."""

    issuers: tuple[Certificate, ...]
    not_before: datetime
    not_after: datetime
    # Those of `issuers` that constrain names below them, so also a leaf's.
    constraining: tuple[x509.NameConstraints, ...]


@dataclass(slots=True)
class _Failure:
    """Why one attempt to go on upwards failed. `verified`: how many signatures on the way there held."""

    verified: int
    reason: str
    message: str
    fix: str
    checks: list[Check]


@dataclass(slots=True)
class _Search:
    """One path being looked for: what may be used, what is left of the budget, and the best explanation so far."""

    sent: dict[FoldedName, list[Certificate]]
    now: datetime
    signatures_left: int = MAX_SIGNATURE_CHECKS
    failure: _Failure | None = None
    revocation: tuple[Check, ...] = ()

    def note(self, verified: int, reason: str, message: str, fix: str, checks: list[Check]) -> None:
        # The attempt that came furthest explains most; among equals the first, which had the better claim.
        if self.failure is None or verified > self.failure.verified:
            self.failure = _Failure(verified, reason, message, fix, checks)


def _path_key(leaf: Certificate, sent: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """The leaf's issuer and exactly what came beside it: as a hash, so that what a peer sends along costs no memory."""
    return leaf.raw_issuer, hashlib.sha256(b"".join(sent[1:])).digest()


class Validator:
    """Judges chains against one version of the trust anchors. Not for use by several threads at once.

    `max_intermediates` bounds the CAs between leaf and anchor, self-issued ones not counted, as a path length of the
    anchor would. `revocation` knows about revocation; without it nobody asks. `waivers` are the weaknesses that pass.
    """

    __slots__ = ("_known", "_leaf_rules", "_max_intermediates", "_revocation", "_usage", "_waivers", "anchors")

    def __init__(
        self,
        anchors: TrustAnchors,
        *,
        usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
        leaf_rules: Sequence[Rule] = LEAF_RULES,
        max_intermediates: int = MAX_CERTIFICATES,
        revocation: Revocation | None = None,
        waivers: Waivers = NO_WAIVERS,
    ) -> None:
        self.anchors = anchors
        self._usage = usage
        self._leaf_rules = leaf_rules
        self._max_intermediates = max_intermediates
        self._revocation = revocation
        self._waivers = waivers
        self._known: OrderedDict[tuple[bytes, bytes], list[_KnownPath]] = OrderedDict()

    def validate(self, chain: PeerChain, now: datetime) -> VerifiedChain:
        """Find a path from the leaf of `chain` to an anchor that breaks no rule at `now`.

        Raises `Unauthenticated` with the first broken rule as its reason, and every check in `checks`.
        """
        return self._by_known_path(chain.certificates, now) or self._by_search(chain, now)

    # --- the short way -------------------------------------------------------------------------------------------

    def _by_known_path(self, sent: tuple[bytes, ...], now: datetime) -> VerifiedChain | None:
        if not sent or len(sent) > MAX_CERTIFICATES or sum(map(len, sent)) > MAX_CHAIN_BYTES:
            return None
        try:
            leaf = Certificate(sent[0])
            _ = leaf.subject_name
            key = _path_key(leaf, sent)
            known = self._known.get(key)
            if known is None:
                return None
            asked = Asked(now, self._usage, (), self._waivers)
            for rule in self._leaf_rules:
                if rule.broken(leaf, asked) is not None:
                    return None
            for path in known:
                if not path.not_before <= now <= path.not_after:
                    continue
                if not is_signed_by(leaf, path.issuers[0]):
                    continue
                # Comparing names costs what the authors of both lists wish: not before the leaf is known to be genuine.
                if any(find_violation(constraints, leaf) is not None for constraints in path.constraining):
                    continue
                whole = (leaf, *path.issuers)
                found: tuple[Check, ...] = ()
                if self._revocation is not None:
                    found, refused = _ask_for_revocation(self._revocation, whole, asked)
                    if refused is not None:
                        continue
                self._known.move_to_end(key)
                return VerifiedChain(leaf, whole, path.issuers[-1], now, found, self._waived(whole))
        except Invalid:
            # Whatever is wrong with it, the long way finds it again and says so.
            return None
        return None

    def _remember(self, sent: tuple[bytes, ...], path: tuple[Certificate, ...]) -> None:
        leaf, issuers = path[0], path[1:]
        known = self._known.setdefault(_path_key(leaf, sent), [])
        if any(other.issuers == issuers for other in known):
            return
        known.insert(
            0,
            _KnownPath(
                issuers,
                max(issuer.not_before for issuer in issuers),
                min(issuer.not_after for issuer in issuers),
                tuple(
                    issuer.extensions.name_constraints
                    for issuer in issuers
                    if issuer.extensions.name_constraints is not None
                ),
            ),
        )
        # Several paths for the same certificates: a CA that was renewed under its name. Two are a roll; more are not.
        del known[2:]
        while len(self._known) > _MAX_KNOWN_PATHS:
            self._known.popitem(last=False)

    # --- the long way --------------------------------------------------------------------------------------------

    def _by_search(self, chain: PeerChain, now: datetime) -> VerifiedChain:
        checks: list[Check] = []
        certificates = parse_within_bounds(chain, checks)
        leaf = certificates[0]
        asked = Asked(now, self._usage, (), self._waivers)
        broken = apply_rules(self._leaf_rules, leaf, asked, checks)
        if broken is not None:
            rule, message = broken
            raise Unauthenticated(rule.reason, message, fix=rule.fix(leaf, asked), checks=with_unreached(checks))
        sent: dict[FoldedName, list[Certificate]] = {}
        for certificate in dict.fromkeys(certificates[1:]):
            sent.setdefault(certificate.subject_key, []).append(certificate)
        search = _Search(sent, now)
        path = self._climb(search, (leaf,), checks)
        if path is None:
            failure = search.failure
            assert failure is not None, "every way up that ends notes why"
            raise Unauthenticated(
                failure.reason, failure.message, fix=failure.fix, checks=with_unreached(failure.checks)
            )
        self._remember(chain.certificates, path)
        return VerifiedChain(leaf, path, path[-1], now, search.revocation, self._waived(path))

    def _waived(self, path: tuple[Certificate, ...]) -> tuple[Waived, ...]:
        return find_waived(path) if self._waivers else ()

    def _climb(
        self, search: _Search, path: tuple[Certificate, ...], checks: list[Check]
    ) -> tuple[Certificate, ...] | None:
        """Try every candidate for the issuer of the last certificate of `path`; the first way up to an anchor wins.

        `checks` are those that led here.
        """
        last = path[-1]
        candidates = self._candidates(search, path)
        if not candidates:
            reason, message, fix = self._dead_end(path)
            search.note(len(path), reason, message, fix, [*checks, Check(reason, False, message)])
            return None
        if len(path) >= MAX_CERTIFICATES:
            message = f"no trusted CA within {MAX_CERTIFICATES} certificates; the last one seen is '{last.subject}'"
            search.note(len(path), "chain.too_long", message, "", [*checks, Check("chain.too_long", False, message)])
            return None
        for candidate in candidates:
            found = self._climb_by(search, path, candidate, checks)
            if found is not None:
                return found
        if last.is_self_issued and len(path) > 1:
            # A root under a registered name: that the registered key did not sign it is not what the operator asks.
            reason, message, fix = self._dead_end(path)
            search.note(len(path) + 1, reason, message, fix, [*checks, Check(reason, False, message)])
        return None

    def _climb_by(
        self, search: _Search, path: tuple[Certificate, ...], candidate: Certificate, checks: list[Check]
    ) -> tuple[Certificate, ...] | None:
        last = path[-1]
        asked = Asked(search.now, self._usage, path, self._waivers)
        checks = [*checks, Check("chain.incomplete", True, f"'{last.subject}' names '{candidate.subject}' as issuer")]
        if (broken := apply_rules((ISSUER_KEY,), candidate, asked, checks)) is not None:
            search.note(len(path), broken[0].reason, broken[1], broken[0].fix(candidate, asked), checks)
            return None
        if search.signatures_left == 0:
            message = f"no path found after {MAX_SIGNATURE_CHECKS} signatures; too many CAs share a name"
            search.note(len(path), "chain.too_long", message, "", [*checks, Check("chain.too_long", False, message)])
            return None
        search.signatures_left -= 1
        if not is_signed_by(last, candidate):
            message = (
                f"'{last.subject}' names '{candidate.subject}' as its issuer, but the key of that CA "
                f"(SHA-256 {candidate.sha256}) did not sign it; is there another CA of the same name?"
            )
            checks.append(Check("chain.signature", False, message))
            search.note(len(path), "chain.signature", message, _REGISTER, checks)
            return None
        checks.append(Check("chain.signature", True, f"the key of '{candidate.subject}' signed '{last.subject}'"))
        is_anchor = candidate in self.anchors
        intermediates = sum(not certificate.is_self_issued for certificate in path[1:])
        if intermediates > self._max_intermediates:
            message = f"{intermediates} intermediate CAs; at most {self._max_intermediates} are followed"
            checks.append(Check("chain.path_length", False, message))
            search.note(len(path) + 1, "chain.path_length", message, "", checks)
            return None
        if (broken := apply_rules(ANCHOR_RULES if is_anchor else ISSUER_RULES, candidate, asked, checks)) is not None:
            search.note(len(path) + 1, broken[0].reason, broken[1], broken[0].fix(candidate, asked), checks)
            return None
        upper = (*path, candidate)
        if not is_anchor:
            return self._climb(search, upper, checks)
        if self._revocation is not None:
            search.revocation, refused = _ask_for_revocation(self._revocation, upper, asked)
            if refused is not None:
                check, fix = refused
                search.note(len(upper), check.name, check.detail, fix, [*checks, *search.revocation])
                return None
        return upper

    def _candidates(self, search: _Search, path: tuple[Certificate, ...]) -> list[Certificate]:
        last = path[-1]
        name = last.issuer_key
        if not name:
            return []
        found = [
            candidate
            for candidate in dict.fromkeys((*self.anchors.known_as(name), *search.sent.get(name, ())))
            if candidate not in path
        ]
        wanted = last.extensions.authority_key_id
        if wanted is not None and len(found) > 1:
            # A hint, not a rule (RFC 5280 4.2.1.1): the CA with the named key is tried first. But an anchor goes before
            # everything else, so that a path ends in the closest one: a CA's other certificate must not lead past it.
            found.sort(
                key=lambda candidate: (candidate not in self.anchors, candidate.extensions.subject_key_id != wanted)
            )
        return found

    def _dead_end(self, path: tuple[Certificate, ...]) -> tuple[str, str, str]:
        """Reason, message and fix for a path that nothing continues."""
        last = path[-1]
        reason, fix = "chain.untrusted", register_root(last, self.anchors.anchors)
        if not last.is_self_issued:
            reason, fix = "chain.incomplete", send_intermediates(path[0], last)
            message = (
                f"nobody sent or registered the issuer of '{last.subject}'; it names '{last.issuer}'. "
                "Send the intermediate certificates with the leaf, or register that CA"
            )
        elif len(path) == 1:
            message = f"'{last.subject}' names itself as its issuer, so no CA registered here stands behind it"
            fix = "moorage device create ID --auth x509-thumbprint --certificate FILE"
        else:
            message = f"the chain ends in '{last.subject}' (SHA-256 {last.sha256}), which is not a CA registered here"
            known = self.anchors.known_as(last.subject_key)
            if last in known:
                message = f"the chain ends in '{last.subject}' (SHA-256 {last.sha256}), which is not trusted here"
            elif known:
                message += "; a registered CA has the same name but is another certificate"
        return reason, message, fix


def _ask_for_revocation(
    revocation: Revocation, path: tuple[Certificate, ...], asked: Asked
) -> tuple[tuple[Check, ...], tuple[Check, str] | None]:
    """What was found for each certificate below the anchor, and the first of it that refuses the path, with its fix."""
    found: list[Check] = []
    for position, certificate in enumerate(path[:-1]):
        policy = revocation.policy(path[position + 1])
        if policy == "off":
            continue
        status = revocation.status(path, position, asked.now)
        if isinstance(status, Good):
            found.append(_NOT_REVOKED)
            continue
        if isinstance(status, Revoked):
            refused = Check("chain.revoked", False, status.said_of(certificate))
            fix = new_ca_and_leaf(certificate, path[0]) if position else new_leaf(certificate, asked)
            return (*found, refused), (refused, fix)
        message = f"whether '{certificate.subject}' is revoked is not known: {status.why}"
        check = Check("chain.revocation_unknown", False if policy == "hard" else None, message)
        found.append(check)
        if policy == "hard":
            return tuple(found), (check, _KNOW_REVOKED)
    return tuple(found), None
