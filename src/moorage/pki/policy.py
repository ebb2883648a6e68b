"""Who is let in with a certificate: every requirement on a device's chain is one line of a list here, with its reason.

A `Validator` holds one version of the trust anchors and judges what peers sent. It builds a path from the leaf to an
anchor (RFC 5280 6.1, with the name constraints of 4.2.1.10 and without policies) out of the anchors, the certificates
the peer sent and intermediates known here. An anchor may be an intermediate; nothing above it counts.

Order, and why it is safe to be asked by anyone:
  1. number and size are bounded before anything is parsed;
  2. each of `LEAF_RULES` looks at the leaf alone, no signature yet;
  3. the path is built upwards. A candidate's key is within bounds before it verifies anything, and at most
     `MAX_SIGNATURE_CHECKS` signatures are verified for one chain, however many names collide;
  4. each of `ISSUER_RULES` looks at one CA, in its place on the path;
  5. a path that is whole is asked for revocation (`pki/revocation.py`), where somebody knows about it.

We spell out what we ask instead of taking a ready-made policy. The verifier of `cryptography` wants a subjectAltName
and an authorityKeyIdentifier in a client's certificate, which most device certificates in the field lack, and names
neither the rule that failed nor the certificate that broke it.

What is remembered between calls is who may issue under an anchor: a path of CAs, found good once for exactly the
certificates that were sent beside the leaf, with dates looked at again each time. A verdict never depends on what
another peer has sent. A known issuer leaves one signature to verify, the leaf's, and no text is built. Revocation is
never remembered: it is asked each time.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from moorage.errors import Check, Invalid, Refusal, Unauthenticated
from moorage.pki.certificates import Certificate, PeerChain, VerifiedChain
from moorage.pki.distinguished_names import FoldedName
from moorage.pki.fixes import (
    new_ca,
    new_leaf,
    new_leaf_elsewhere,
    new_pinned,
    register_root,
    send_intermediates,
    set_clock,
    set_clocks,
)
from moorage.pki.name_constraints import find_violation
from moorage.pki.requirements import (
    Asked,
    constrains_policies,
    exceeds_path_length,
    expired,
    has_no_name,
    has_unhandled_extension,
    is_a_ca,
    lacks_ca_key_usage,
    lacks_crl_sign,
    lacks_leaf_key_usage,
    leaf_constrains_names,
    not_a_ca,
    not_yet_valid,
    violates_name_constraints,
    weak_key,
    weak_signature,
    wrong_usage,
)
from moorage.pki.revocation import Good, Revocation, Revoked
from moorage.pki.signatures import verifies

__all__ = [
    "ANCHOR_RULES",
    "CRL_SIGNER_RULES",
    "ISSUER_KEY",
    "ISSUER_RULES",
    "LEAF_RULES",
    "MAX_CERTIFICATES",
    "MAX_CHAIN_BYTES",
    "MAX_SIGNATURE_CHECKS",
    "PASSED",
    "PASSED_PINNED",
    "PINNED_RULES",
    "Rule",
    "TrustAnchors",
    "Validator",
    "check_ca",
    "check_pinned",
    "is_signed_by",
]

# OpenSSL sends and takes up to 100 by default; the deepest supply chain in the documentation has four.
MAX_CERTIFICATES: Final = 10
MAX_CHAIN_BYTES: Final = 64 * 1024
# A path of ten needs nine. P-384 costs 0.5 ms to verify, so this is the most that one attempt may cost: 8 ms.
MAX_SIGNATURE_CHECKS: Final = 16
# Paths of CAs remembered, each at most `MAX_CHAIN_BYTES`; only a chain that was accepted adds one.
_MAX_KNOWN_PATHS: Final = 512

_NEW_LEAF = "moorage cert device ID --issuer CA"
_REGISTER = "moorage ca add FILE --prove-with KEY"


@dataclass(frozen=True, slots=True)
class Rule:
    """One requirement: `broken` says how a certificate breaks it, None when it does not; `fix` what mends that."""

    reason: str
    broken: Callable[[Certificate, Asked], str | None]
    fix: Callable[[Certificate, Asked], str]


# --- the lists, in the order in which they are looked at ----------------------------------------------------------

LEAF_RULES: Final = (
    Rule("chain.weak_key", weak_key, new_leaf),
    Rule("chain.weak_signature", weak_signature, new_leaf),
    Rule("chain.leaf_is_ca", is_a_ca, new_leaf),
    Rule("chain.not_yet_valid", not_yet_valid, set_clocks),
    Rule("chain.expired", expired, new_leaf),
    Rule("chain.key_usage", lacks_leaf_key_usage, new_leaf),
    Rule("chain.wrong_usage", wrong_usage, new_leaf),
    Rule("chain.critical_extension", has_unhandled_extension, new_leaf),
    Rule("chain.name_constraints", leaf_constrains_names, new_leaf),
    Rule("chain.no_name", has_no_name, new_leaf),
)
# For each CA on the path, after its signature was verified; the anchor is the last of them. How an anchor is signed
# is nobody's business: it is trusted because it is registered.
ANCHOR_RULES: Final = (
    Rule("chain.not_a_ca", not_a_ca, new_ca),
    Rule("chain.not_yet_valid", not_yet_valid, set_clock),
    Rule("chain.expired", expired, new_ca),
    Rule("chain.key_usage", lacks_ca_key_usage, new_ca),
    Rule("chain.wrong_usage", wrong_usage, new_ca),
    Rule("chain.critical_extension", has_unhandled_extension, new_ca),
    Rule("chain.policy_constraints", constrains_policies, new_ca),
    Rule("chain.path_length", exceeds_path_length, new_ca),
    Rule("chain.name_constraints", violates_name_constraints, new_leaf_elsewhere),
)
ISSUER_RULES: Final = (Rule("chain.weak_signature", weak_signature, new_ca), *ANCHOR_RULES)
ISSUER_KEY: Final = Rule("chain.weak_key", weak_key, new_ca)
PINNED_RULES: Final = (
    Rule("chain.weak_key", weak_key, new_pinned),
    Rule("chain.not_yet_valid", not_yet_valid, set_clocks),
    Rule("chain.expired", expired, new_pinned),
)
# Of whoever signs revocation lists without being a CA of the path.
CRL_SIGNER_RULES: Final = (
    Rule("chain.weak_key", weak_key, new_ca),
    Rule("chain.weak_signature", weak_signature, new_ca),
    Rule("chain.not_yet_valid", not_yet_valid, set_clock),
    Rule("chain.expired", expired, new_ca),
    Rule("chain.key_usage", lacks_crl_sign, new_ca),
    Rule("chain.critical_extension", has_unhandled_extension, new_ca),
)

_BOUNDS: Final = ("chain.empty", "chain.too_long", "chain.too_large", "chain.malformed")
_LEAF_CHECKS: Final = _BOUNDS + tuple(rule.reason for rule in LEAF_RULES)
_PATH_CHECKS: Final = ("chain.incomplete", "chain.untrusted", "chain.weak_key", "chain.signature") + tuple(
    rule.reason for rule in ISSUER_RULES
)
# What was looked at when a chain is accepted, in order: first for the leaf, then for the path.
PASSED: Final = tuple(Check(name, True) for name in _LEAF_CHECKS + _PATH_CHECKS)
_NOT_REVOKED: Final = Check("chain.revoked", True)
PASSED_PINNED: Final = tuple(Check(name, True) for name in _BOUNDS + tuple(rule.reason for rule in PINNED_RULES))


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
    anchor would. `revocation` knows about revocation; without it nobody asks.
    """

    __slots__ = ("_known", "_leaf_rules", "_max_intermediates", "_revocation", "_usage", "anchors")

    def __init__(
        self,
        anchors: TrustAnchors,
        *,
        usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
        leaf_rules: Sequence[Rule] = LEAF_RULES,
        max_intermediates: int = MAX_CERTIFICATES,
        revocation: Revocation | None = None,
    ) -> None:
        self.anchors = anchors
        self._usage = usage
        self._leaf_rules = leaf_rules
        self._max_intermediates = max_intermediates
        self._revocation = revocation
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
            asked = Asked(now, self._usage)
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
                    found, refused = _ask_for_revocation(self._revocation, whole, now)
                    if refused is not None:
                        continue
                self._known.move_to_end(key)
                return VerifiedChain(leaf, whole, path.issuers[-1], now, found)
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
        certificates = _parse_within_bounds(chain, checks)
        leaf = certificates[0]
        asked = Asked(now, self._usage)
        broken = _apply(self._leaf_rules, leaf, asked, checks)
        if broken is not None:
            rule, message = broken
            raise Unauthenticated(rule.reason, message, fix=rule.fix(leaf, asked), checks=_completed(checks))
        sent: dict[FoldedName, list[Certificate]] = {}
        for certificate in dict.fromkeys(certificates[1:]):
            sent.setdefault(certificate.subject_key, []).append(certificate)
        search = _Search(sent, now)
        path = self._climb(search, (leaf,), checks)
        if path is None:
            failure = search.failure
            assert failure is not None, "every way up that ends notes why"
            raise Unauthenticated(failure.reason, failure.message, fix=failure.fix, checks=_completed(failure.checks))
        self._remember(chain.certificates, path)
        return VerifiedChain(leaf, path, path[-1], now, search.revocation)

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
        asked = Asked(search.now, self._usage, path)
        checks = [*checks, Check("chain.incomplete", True, f"'{last.subject}' names '{candidate.subject}' as issuer")]
        if (broken := _apply((ISSUER_KEY,), candidate, asked, checks)) is not None:
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
        if (broken := _apply(ANCHOR_RULES if is_anchor else ISSUER_RULES, candidate, asked, checks)) is not None:
            search.note(len(path) + 1, broken[0].reason, broken[1], broken[0].fix(candidate, asked), checks)
            return None
        upper = (*path, candidate)
        if not is_anchor:
            return self._climb(search, upper, checks)
        if self._revocation is not None:
            search.revocation, refused = _ask_for_revocation(self._revocation, upper, search.now)
            if refused is not None:
                fix = new_leaf(path[0], asked) if refused.name == "chain.revoked" else ""
                search.note(len(upper), refused.name, refused.detail, fix, [*checks, *search.revocation])
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


def check_pinned(chain: PeerChain, now: datetime) -> VerifiedChain:
    """What a certificate has to fulfil that is registered by its thumbprint: dates and key strength (decisions T3).

    The leaf is its own anchor; whoever signed it, its name, and further certificates sent do not matter. That its hash
    is the registered one is for the caller to compare, before. Raises `Unauthenticated`.
    """
    checks: list[Check] = []
    leaf = _parse_within_bounds(PeerChain(chain.certificates[:1]), checks)[0]
    asked = Asked(now, ExtendedKeyUsageOID.CLIENT_AUTH)
    broken = _apply(PINNED_RULES, leaf, asked, checks)
    if broken is not None:
        rule, message = broken
        raise Unauthenticated(rule.reason, message, fix=rule.fix(leaf, asked), checks=checks)
    return VerifiedChain(leaf, (leaf,), leaf, now)


def check_ca(certificate: Certificate, now: datetime) -> None:
    """What a certificate has to fulfil to be registered as a CA, so that chains under it can be accepted at all.

    Raises `Invalid` with the reason of the rule under `ca.`: `ca.not_a_ca`, `ca.expired`, `ca.weak_key` and so on.
    """
    checks: list[Check] = []
    asked = Asked(now, ExtendedKeyUsageOID.CLIENT_AUTH)
    broken = _apply((ISSUER_KEY, *ANCHOR_RULES), certificate, asked, checks)
    if broken is not None:
        rule, message = broken
        raise Invalid(
            "ca." + rule.reason.removeprefix("chain."), message, fix=rule.fix(certificate, asked), checks=checks
        )


# --- parts ---------------------------------------------------------------------------------------------------------


def _apply(
    rules: Sequence[Rule], certificate: Certificate, asked: Asked, checks: list[Check]
) -> tuple[Rule, str] | None:
    """Look at every rule, note each in `checks`, and return the first broken one with what it says."""
    first: tuple[Rule, str] | None = None
    subject = certificate.subject
    for rule in rules:
        message = rule.broken(certificate, asked)
        checks.append(Check(rule.reason, message is None, subject if message is None else message))
        if message is not None and first is None:
            first = rule, message
    return first


def _completed(checks: list[Check]) -> list[Check]:
    """With what was not reached at the end."""
    seen = {check.name for check in checks}
    return checks + [Check(name, None) for name in dict.fromkeys(_LEAF_CHECKS + _PATH_CHECKS) if name not in seen]


def _parse_within_bounds(chain: PeerChain, checks: list[Check]) -> list[Certificate]:
    def bound(reason: str, holds: bool, message: str, fix: str = "") -> None:
        checks.append(Check(reason, holds, "" if holds else message))
        if not holds:
            raise Unauthenticated(reason, message, fix=fix, checks=_completed(checks))

    count = len(chain.certificates)
    size = sum(map(len, chain.certificates))
    bound("chain.empty", count > 0, "no client certificate was sent", _NEW_LEAF)
    bound(
        "chain.too_long", count <= MAX_CERTIFICATES, f"{count} certificates were sent; at most {MAX_CERTIFICATES} are"
    )
    bound("chain.too_large", size <= MAX_CHAIN_BYTES, f"{size} bytes were sent; at most {MAX_CHAIN_BYTES} are read")
    parsed: list[Certificate] = []
    problem = ""
    for position, der in enumerate(chain.certificates):
        try:
            certificate = Certificate(der)
            _ = certificate.subject_name, certificate.issuer_name
            parsed.append(certificate)
        except Refusal as refusal:
            problem = f"certificate {position + 1} of {count} cannot be used: {refusal.message}"
            break
    bound("chain.malformed", not problem, problem, _NEW_LEAF)
    return parsed


def _ask_for_revocation(
    revocation: Revocation, path: tuple[Certificate, ...], now: datetime
) -> tuple[tuple[Check, ...], Check | None]:
    """What was found for each certificate below the anchor, and the first of it that refuses the path."""
    found: list[Check] = []
    for position, certificate in enumerate(path[:-1]):
        policy = revocation.policy(path[position + 1])
        if policy == "off":
            continue
        status = revocation.status(path, position, now)
        if isinstance(status, Good):
            found.append(_NOT_REVOKED)
            continue
        subject = certificate.subject
        if isinstance(status, Revoked):
            refused = Check(
                "chain.revoked",
                False,
                f"'{subject}' (serial {certificate.serial_number:X}) was revoked by '{certificate.issuer}' on "
                f"{status.date:%Y-%m-%d} ({status.reason}), says {status.source}",
            )
            return (*found, refused), refused
        message = f"whether '{subject}' is revoked is not known: {status.why}"
        check = Check("chain.revocation_unknown", False if policy == "hard" else None, message)
        found.append(check)
        if policy == "hard":
            return tuple(found), check
    return tuple(found), None


def is_signed_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Whether the key of `issuer` made the signature; names are not compared. The key was bounded before."""
    signed = certificate.x509
    try:
        how, algorithm = signed.signature_algorithm_parameters, signed.signature_hash_algorithm
    except (UnsupportedAlgorithm, ValueError):
        return False
    data = signed.tbs_certificate_bytes
    return verifies(issuer.public_key, signed.signature, data, signed.signature_algorithm_oid, how, algorithm)
