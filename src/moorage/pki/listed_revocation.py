"""Whether a certificate is revoked, by lists: RFC 5280 6.3.3, with points, reasons, indirect lists and deltas.

`ListedRevocation` holds lists and answers for certificates (`pki/revocation.py`). A list answers for a certificate when
all of this holds, in this order; what does not hold is said in the `Unknown` that comes of it:

  1. the certificate's issuer published it, or the one whom the certificate's distribution point names (indirect);
  2. its scope has the certificate: distribution point, users or CAs, and reasons that no other list had;
  3. it is fresh: made by now, and the next one not overdue, with `SKEW` for clocks that differ. An overdue one counts
     together with a fresh delta that continues it;
  4. its signature was made by a CA of the path, or by another certificate of the same name that a CA of the path
     issued, the certificate's issuer or one above it, that is valid under the same anchor, is not revoked itself, and
     where it has a key usage, that has cRLSign.

An overdue list makes nobody good any more. Whom it revoked stays revoked all the same: otherwise whoever keeps the next
list from arriving would bring back the keys that were stolen.

All reasons have to be covered before a certificate is good. Signatures are verified once for a list and a signer; dates
are looked at each time, and so is everything that is not about signatures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from moorage.errors import Unauthenticated
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.distinguished_names import DistinguishedName, FoldedName, parse_name
from moorage.pki.keys import is_strong
from moorage.pki.policy import CRL_SIGNER_RULES, is_signed_by
from moorage.pki.revocation import GOOD, Policy, Revoked, Status, Unknown
from moorage.pki.revocation_lists import ALL_REASONS, Entry, PointName, RevocationList, point_names
from moorage.pki.validator import TrustAnchors, Validator

__all__ = ["SKEW", "ListedRevocation", "revoked_by"]

# Clocks of a publisher and of this machine may differ by as much.
SKEW: Final = timedelta(minutes=5)
# Distribution points looked at for one certificate: the list of them is its author's to choose.
_MAX_POINTS: Final = 16
# Certificates of one name tried as the signer of a list.
_MAX_SIGNERS: Final = 8
# What is remembered: CAs of paths come from peers, and a CA can make as many certificates of its name as it likes.
_MAX_VERIFIED: Final = 4096
_MAX_VALIDATORS: Final = 64


@dataclass(frozen=True, slots=True)
class _Point:
    """A distribution point of a certificate. One is implied: the whole of its issuer's lists (6.3.3)."""

    names: frozenset[PointName] | None
    issuers: frozenset[FoldedName]
    issuer_names: frozenset[PointName]
    reasons: frozenset[x509.ReasonFlags]


class ListedRevocation:
    """What a set of lists says. It never changes: other lists make another one. Not for several threads at once.

    `signers` are certificates that may have signed lists without being on a path: of a CA whose key was rolled over, or
    that signs its lists with a key of their own. `policies` are by the issuer's name as `Certificate.subject_key`.
    """

    def __init__(
        self,
        lists: Iterable[RevocationList],
        *,
        signers: Iterable[Certificate] = (),
        policies: Mapping[FoldedName, Policy] | None = None,
        default: Policy = "soft",
    ) -> None:
        self._policies = dict(policies or {})
        self._default: Policy = default
        self._lists: dict[FoldedName, list[RevocationList]] = {}
        self._deltas: dict[FoldedName, list[RevocationList]] = {}
        # Of two with the same scope the later one speaks first.
        for each in sorted(lists, key=lambda each: each.number, reverse=True):
            by_issuer = self._lists if each.base_number is None else self._deltas
            by_issuer.setdefault(each.issuer_key, []).append(each)
        self._signers: dict[FoldedName, list[Certificate]] = {}
        for signer in dict.fromkeys(signers):
            self._signers.setdefault(signer.subject_key, []).append(signer)
        # Of issuers that have lists, so there are no more of them than of those.
        self._implied: dict[FoldedName, list[_Point]] = {}
        self._verified: dict[tuple[RevocationList, Certificate], bool] = {}
        self._validators: dict[Certificate, Validator] = {}
        self._paths: dict[tuple[Certificate, Certificate], tuple[Certificate, ...]] = {}
        # Signers whose own status is being found.
        self._asking: set[Certificate] = set()

    def policy(self, issuer: Certificate) -> Policy:
        return self._policies.get(issuer.subject_key, self._default)

    def status(self, path: Sequence[Certificate], position: int, now: datetime) -> Status:
        """As `Revocation.status`."""
        certificate = path[position]
        # The same name as the certificate's issuer, and folded already.
        issuer = path[position + 1].subject_key
        try:
            points = self._points(certificate, issuer)
        except ValueError as error:
            return Unknown(f"a distribution point of the certificate cannot be read: {error}")
        covered: frozenset[x509.ReasonFlags] = frozenset()
        problem = ""
        for point in points:
            for candidate in self._candidates(issuer, point):
                adds = (point.reasons & candidate.scope.reasons) - covered
                if not adds:
                    continue
                delta = self._delta(candidate, path, position, now)
                why = self._why_not_usable(candidate, point, path, position, now)
                if why:
                    problem = problem or why
                    continue
                is_continued = delta is not None and not _overdue(delta, now)
                found = candidate, candidate.find(issuer, certificate.serial_number)
                if delta is not None:
                    later = delta.find(issuer, certificate.serial_number)
                    if later is not None and (is_continued or not later.removed):
                        found = delta, later
                revoked = revoked_by(*found)
                if revoked is not None:
                    return revoked
                if not is_continued and (overdue := _overdue(candidate, now)):
                    problem = problem or overdue
                    continue
                covered |= adds
                if covered == ALL_REASONS:
                    return GOOD
        if covered:
            missing = ", ".join(sorted(flag.value for flag in ALL_REASONS - covered))
            problem = problem or f"no list covers the reasons {missing}"
        return Unknown(problem or f"there is no list of '{certificate.issuer}' for it")

    # --- which list ----------------------------------------------------------------------------------------------

    def _candidates(self, issuer: FoldedName, point: _Point) -> Iterator[RevocationList]:
        for each in point.issuers or (issuer,):
            yield from self._lists.get(each, ())

    def _points(self, certificate: Certificate, issuer: FoldedName) -> list[_Point]:
        """Those the certificate names, then the implied one. Raises `ValueError`."""
        if certificate.extensions.distribution_points is not None:
            return [*_named_points(certificate), _implied_point(issuer)]
        if issuer not in self._lists:
            return []
        return self._implied.setdefault(issuer, [_implied_point(issuer)])

    def _delta(
        self, complete: RevocationList, path: Sequence[Certificate], position: int, now: datetime
    ) -> RevocationList | None:
        """The latest delta that continues `complete` (RFC 5280 5.2.4, 6.3.3 c)."""
        for delta in self._deltas.get(complete.issuer_key, ()):
            continues = (
                delta.base_number is not None
                and delta.base_number <= complete.number < delta.number
                and delta.scope == complete.scope
                and delta.authority_key_id == complete.authority_key_id
            )
            if continues and not _from_the_future(delta, now) and self._has_signer(delta, path, position, now):
                return delta
        return None

    def _why_not_usable(
        self,
        candidate: RevocationList,
        point: _Point,
        path: Sequence[Certificate],
        position: int,
        now: datetime,
    ) -> str:
        """Empty when the list speaks about the certificate, whatever its age."""
        if why := _out_of_scope(candidate, point, path[position]) or _from_the_future(candidate, now):
            return why
        if not self._has_signer(candidate, path, position, now):
            whose = "indirect list" if candidate.scope.indirect else "list"
            return f"no trusted key signed the {whose} {candidate.number} of '{candidate.issuer.rfc4514()}'"
        return ""

    # --- who signed it -------------------------------------------------------------------------------------------

    def _has_signer(self, candidate: RevocationList, path: Sequence[Certificate], position: int, now: datetime) -> bool:
        """Whether a certificate that may sign `candidate` did: on the path, or valid under the same anchor."""
        for above in path[position + 1 :]:
            if above.subject_key == candidate.issuer_key and self._signed(candidate, above):
                return True
        for signer in self._signers.get(candidate.issuer_key, ())[:_MAX_SIGNERS]:
            # A name is no proof: whoever may issue CAs somewhere below could name one like the CA above it. The CA
            # itself, or one above it on this path, has to have made it.
            upwards = path[position + 1 :]
            if (
                self._signed(candidate, signer)
                and _is_made_by(signer, upwards)
                and self._is_valid(signer, upwards, now)
            ):
                return True
        return False

    def _signed(self, candidate: RevocationList, signer: Certificate) -> bool:
        known = self._verified.get((candidate, signer))
        if known is None:
            usage = signer.extensions.key_usage
            known = (
                (usage is None or usage.crl_sign)
                and is_strong(signer.public_key)
                and candidate.signature.is_by(signer.public_key)
            )
            if len(self._verified) >= _MAX_VERIFIED:
                self._verified.clear()
            self._verified[candidate, signer] = known
        return known

    def _is_valid(self, signer: Certificate, above: Sequence[Certificate], now: datetime) -> bool:
        """Whether it has a path to the last of `above`, the others of which may stand in between."""
        anchor = above[-1]
        if signer in self._asking:
            # It signs the list that speaks about itself: then nobody knows better (PKITS 4.14.30). That it is valid
            # otherwise is being found out by whoever asked first.
            return True
        self._asking.add(signer)
        try:
            known = self._paths.get((signer, anchor))
            if known is not None and self._holds(known, now):
                return True
            sent = PeerChain((signer.der, *(each.der for each in above[:-1])))
            self._paths[signer, anchor] = self._validator(anchor).validate(sent, now).path
        except Unauthenticated:
            return False
        finally:
            self._asking.discard(signer)
        return True

    def _holds(self, path: tuple[Certificate, ...], now: datetime) -> bool:
        """Whether a path that was valid once is valid now: dates and revocation are all that changes."""
        return all(each.not_before <= now <= each.not_after for each in path) and all(
            self.status(path, position, now) == GOOD for position in range(len(path) - 1)
        )

    def _validator(self, anchor: Certificate) -> Validator:
        """For signers: their revocation is asked as that of everybody else, and has to be known."""
        known = self._validators.get(anchor)
        if known is None:
            if len(self._validators) >= _MAX_VALIDATORS:
                self._validators.clear()
                self._paths.clear()
            signers = [signer for named in self._signers.values() for signer in named]
            known = Validator(
                TrustAnchors([anchor], signers), usage=None, leaf_rules=CRL_SIGNER_RULES, revocation=_Hard(self)
            )
            self._validators[anchor] = known
        return known


class _Hard:
    """The same knowledge, and nothing unknown accepted."""

    def __init__(self, known: ListedRevocation) -> None:
        self._known = known

    def policy(self, issuer: Certificate) -> Policy:
        return "hard"

    def status(self, path: Sequence[Certificate], position: int, now: datetime) -> Status:
        return self._known.status(path, position, now)


def _is_made_by(signer: Certificate, above: Sequence[Certificate]) -> bool:
    return any(
        signer == each or (signer.issuer_key == each.subject_key and is_signed_by(signer, each)) for each in above
    )


def revoked_by(source: RevocationList, entry: Entry | None) -> Revoked | None:
    """What `entry` of `source` says; None where it revokes nothing."""
    # A complete list has nothing to take back: such an entry there revokes.
    if entry is None or (entry.removed and source.base_number is not None):
        return None
    kind = "list" if source.base_number is None else "delta list"
    return Revoked(
        entry.reason,
        entry.date,
        f"the {kind} {source.number} of '{source.issuer.rfc4514()}' of {source.this_update:%Y-%m-%d %H:%M} UTC",
    )


def _shown(candidate: RevocationList) -> str:
    return f"the list {candidate.number} of '{candidate.issuer.rfc4514()}'"


def _from_the_future(candidate: RevocationList, now: datetime) -> str:
    """Empty when it was made by now."""
    if candidate.this_update > now + SKEW:
        return f"{_shown(candidate)} is from the future, {candidate.this_update:%Y-%m-%d %H:%M:%S} UTC"
    return ""


def _overdue(candidate: RevocationList, now: datetime) -> str:
    """Empty while the next one is not."""
    if candidate.next_update < now - SKEW:
        return f"{_shown(candidate)} is too old: the next one was due at {candidate.next_update:%Y-%m-%d %H:%M:%S} UTC"
    return ""


def _out_of_scope(candidate: RevocationList, point: _Point, certificate: Certificate) -> str:
    """6.3.3 b: empty when the list is about the certificate."""
    scope = candidate.scope
    if point.issuers and not scope.indirect:
        return f"{_shown(candidate)} is not indirect, and the certificate is another issuer's"
    if scope.points is not None:
        wanted = point.names if point.names is not None else point.issuer_names
        if not scope.points & wanted:
            return f"{_shown(candidate)} is for another distribution point"
    if scope.attributes_only:
        return f"{_shown(candidate)} is for attribute certificates"
    if scope.users_only and certificate.is_ca:
        return f"{_shown(candidate)} is not for CAs"
    if scope.cas_only and not certificate.is_ca:
        return f"{_shown(candidate)} is for CAs alone"
    return ""


def _only_directory_name(names: Sequence[x509.GeneralName]) -> DistinguishedName:
    if len(names) != 1 or not isinstance(names[0], x509.DirectoryName):
        raise ValueError("a name relative to an issuer that is not one directory name")
    return parse_name(names[0].value.public_bytes())


def _implied_point(issuer: FoldedName) -> _Point:
    own = frozenset({("directoryName", issuer)})
    return _Point(own, frozenset(), own, ALL_REASONS)


def _named_points(certificate: Certificate) -> Iterator[_Point]:
    """Raises `ValueError`."""
    extension = certificate.extensions.distribution_points
    for point in list(extension or ())[:_MAX_POINTS]:
        named = point_names(list(point.crl_issuer), None, certificate.issuer_name) if point.crl_issuer else None
        issuer_names = named or frozenset()
        issuers = frozenset(name for _, name in issuer_names if isinstance(name, tuple))
        below = certificate.issuer_name
        if point.relative_name is not None and point.crl_issuer:
            # RFC 5280 4.2.1.13: then there is exactly one of them, and it is a directory name.
            below = _only_directory_name(point.crl_issuer)
        yield _Point(
            point_names(point.full_name, point.relative_name, below),
            issuers,
            issuer_names,
            ALL_REASONS if point.reasons is None else ALL_REASONS & point.reasons,
        )
