"""Certificate revocation lists (RFC 5280 section 5) as values: read once, looked up a million times.

A `RevocationList` keeps no DER. Its entries are rows of fixed width in one piece of memory, sorted by who issued the
certificate and its serial number: a million of them take 30 MB and a look-up takes twenty steps. What it is signed
over is kept as a digest. Reading one says nothing about trust; which list answers for which certificate, and whether
its signer may, is decided in `pki/listed_revocation.py`.

What is not understood is refused when the list is read and never skipped: an unknown critical extension, in the list
or in one entry, makes the whole of it unusable (RFC 5280 5.2, 5.3), since it may change what an entry means.

Reading a large list takes seconds, so it is done once and elsewhere: `pack` makes bytes of what was read, which
`unpack_revocation_list` takes up again as they are.
"""

from __future__ import annotations

import base64
import binascii
import struct
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import utils
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from moorage.errors import Invalid
from moorage.pki.der import element
from moorage.pki.distinguished_names import DistinguishedName, FoldedName, parse_name
from moorage.pki.signatures import STRONG_SIGNATURES, Signature, describe_signature, has_strong_signature

__all__ = [
    "ALL_REASONS",
    "MAX_ENTRIES",
    "MAX_LIST_BYTES",
    "Entry",
    "PointName",
    "RevocationList",
    "Scope",
    "parse_revocation_list",
    "point_names",
    "unpack_revocation_list",
]

# A million entries with random serial numbers and reasons are 53 MB of DER.
MAX_LIST_BYTES: Final = 64 * 1024 * 1024
MAX_ENTRIES: Final = 1_500_000
# An indirect list names the issuers of its entries; more than these share no list that we know of.
_MAX_ISSUERS: Final = 4096

_SEQUENCE, _INTEGER, _UTC_TIME = 0x30, 0x02, 0x17
# One row: issuer, serial number, date, reason. The date is the decimal YYYYMMDDHHMMSS as a number.
_ISSUER, _SERIAL, _DATE, _REASON = 2, 21, 6, 1
# The library reads the year 0, which no calendar of ours has.
_FIRST_MOMENT: Final = 1_00_00_00_00_00
_KEY: Final = _ISSUER + _SERIAL
_ROW: Final = _KEY + _DATE + _REASON
# An entry whose only extension is its reason, which is not critical: nearly all of those that have extensions.
_REASON_ALONE: Final = bytes.fromhex("300c300a0603551d1504030a01")
_OWN_ISSUER: Final = bytes(_ISSUER)
# What packed bytes begin with: the version of this form, then the lengths of the two parts before the rows.
_PACKED: Final = struct.Struct(">4sII")
_PACKED_VERSION: Final = b"MCL1"

# RFC 5280 5.3.1, by number.
_REASONS: Final = {
    0: "unspecified",
    1: "keyCompromise",
    2: "cACompromise",
    3: "affiliationChanged",
    4: "superseded",
    5: "cessationOfOperation",
    6: "certificateHold",
    8: "removeFromCRL",
    9: "privilegeWithdrawn",
    10: "aACompromise",
}
# ReasonFlags of 4.2.1.13: what a list may be divided by.
ALL_REASONS: Final = frozenset(
    {
        x509.ReasonFlags.key_compromise,
        x509.ReasonFlags.ca_compromise,
        x509.ReasonFlags.affiliation_changed,
        x509.ReasonFlags.superseded,
        x509.ReasonFlags.cessation_of_operation,
        x509.ReasonFlags.certificate_hold,
        x509.ReasonFlags.privilege_withdrawn,
        x509.ReasonFlags.aa_compromise,
    }
)

# The name of a distribution point in a form in which equal ones are equal.
PointName = tuple[str, FoldedName | str]


class Entry(NamedTuple):
    """`reason` is a name of RFC 5280 5.3.1; `removed` for one of a delta that takes an earlier entry back."""

    date: datetime
    reason: str

    @property
    def removed(self) -> bool:
        return self.reason == "removeFromCRL"


@dataclass(frozen=True, slots=True)
class Scope:
    """The issuing distribution point (RFC 5280 5.2.5): what a list is about. None: everything of its issuer."""

    points: frozenset[PointName] | None = None
    users_only: bool = False
    cas_only: bool = False
    attributes_only: bool = False
    indirect: bool = False
    reasons: frozenset[x509.ReasonFlags] = ALL_REASONS


class _Keys:
    """The keys of the rows that begin at `begin`, for `bisect`."""

    __slots__ = ("_begin", "_rows")

    def __init__(self, rows: bytes, begin: int) -> None:
        self._rows = rows
        self._begin = begin

    def __len__(self) -> int:
        return (len(self._rows) - self._begin) // _ROW

    def __getitem__(self, index: int) -> bytes:
        at = self._begin + index * _ROW
        return self._rows[at : at + _KEY]


@dataclass(frozen=True, slots=True, eq=False)
class RevocationList:
    """One list, read and unjudged. Two of them are equal when they are the same object.

    Attributes:
        issuer: who says it signed it; `issuer_key` the same as names are looked up.
        number: the CRL number. `base_number` is that of the complete list a delta continues; None for a complete one.
        this_update, next_update: when it was made, and until when at the latest there will be another.
        scope: what it is about.
        authority_key_id: of the key that signed it, when it says so.
        signature: to be verified with the signer's key.
        head: the DER without its entries, which the signature does not cover.
    """

    issuer: DistinguishedName
    issuer_key: FoldedName
    number: int
    base_number: int | None
    this_update: datetime
    next_update: datetime
    scope: Scope
    authority_key_id: bytes | None
    signature: Signature
    head: bytes
    _rows: bytes
    _issuers: dict[FoldedName, int]
    # Where the rows begin: behind the rest of what was packed, which is kept in one piece with them.
    _begin: int = 0

    def __len__(self) -> int:
        return (len(self._rows) - self._begin) // _ROW

    def __repr__(self) -> str:
        kind = "list" if self.base_number is None else f"delta to {self.base_number}"
        return f"<{kind} {self.number} of {self.issuer.rfc4514()}, {len(self)} entries>"

    def pack(self) -> bytes:
        """For `unpack_revocation_list`. Raises `Invalid` (`crl.indirect`): its entries name other issuers."""
        if self.scope.indirect:
            raise Invalid(
                "crl.indirect",
                f"the list of '{self.issuer.rfc4514()}' is indirect (RFC 5280 5.2.5): it speaks for other CAs too; "
                "such lists are not kept",
            )
        if self._begin:
            return self._rows
        signed = self.signature.data
        return b"".join((_PACKED.pack(_PACKED_VERSION, len(self.head), len(signed)), self.head, signed, self._rows))

    def find(self, issuer: FoldedName, serial: int) -> Entry | None:
        """The entry of that issuer's certificate, None when there is none. Of several, one that revokes."""
        index = self._issuers.get(issuer)
        if index is None or serial.bit_length() >= 8 * _SERIAL:
            return None
        key = index.to_bytes(_ISSUER, "big") + serial.to_bytes(_SERIAL, "big", signed=True)
        at = self._begin + bisect_left(_Keys(self._rows, self._begin), key) * _ROW
        found = None
        while self._rows[at : at + _KEY] == key:
            found = _entry(self._rows[at + _KEY : at + _ROW])
            if not found.removed:
                break
            at += _ROW
        return found

    def serials(self) -> Iterator[tuple[int, Entry]]:
        """Every entry for certificates of the list's own issuer, by serial number."""
        for at in range(self._begin, len(self._rows), _ROW):
            row = self._rows[at : at + _ROW]
            if row.startswith(_OWN_ISSUER):
                yield int.from_bytes(row[_ISSUER:_KEY], "big", signed=True), _entry(row[_KEY:])


def parse_revocation_list(data: bytes) -> RevocationList:
    """Read a list in DER or PEM. For a million entries this takes seconds; it is no work for an event loop.

    Raises `Invalid`: `crl.too_large`, `crl.malformed`, `crl.weak_signature`, `crl.number` without a CRL number or with
    one that is critical, `crl.no_next_update`, `crl.critical_extension` for what is not understood.
    """
    if len(data) > MAX_LIST_BYTES:
        raise Invalid("crl.too_large", f"a list of {len(data)} bytes; at most {MAX_LIST_BYTES} are read")
    der = _der(data)
    head = _read_head(der)
    parsed, at = head.parsed, head.outline
    try:
        signature = Signature.of(
            parsed.signature,
            der[slice(*at.signed)],
            parsed.signature_algorithm_oid,
            parsed.signature_algorithm_parameters,
            parsed.signature_hash_algorithm,
        )
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid(
            "crl.weak_signature", f"the signature of the list of '{head.issuer.rfc4514()}' cannot be used: {error}"
        ) from error
    issuers = {head.issuer.folded: 0}
    rows = _read_entries(der, *at.entries, issuers, indirect=head.scope.indirect)
    return head.with_entries(_without_entries(der, at), signature, rows, issuers)


def unpack_revocation_list(packed: bytes) -> RevocationList:
    """What `RevocationList.pack` made. Raises `Invalid` (`crl.malformed`) for anything else."""
    try:
        version, head_length, signed_length = _PACKED.unpack_from(packed)
        if version != _PACKED_VERSION:
            raise ValueError("another form")
        begin = _PACKED.size
        der = packed[begin : begin + head_length]
        signed = packed[begin + head_length : begin + head_length + signed_length]
        begin += head_length + signed_length
        if begin > len(packed) or (len(packed) - begin) % _ROW:
            raise ValueError("it is cut off")
        head = _read_head(der)
        parsed = head.parsed
        algorithm = parsed.signature_hash_algorithm
        signature = Signature(
            parsed.signature,
            parsed.signature_algorithm_oid,
            parsed.signature_algorithm_parameters,
            signed,
            None if algorithm is None else utils.Prehashed(algorithm),
        )
    except (ValueError, UnsupportedAlgorithm, struct.error) as error:
        raise Invalid("crl.malformed", f"this is not a packed revocation list: {error}") from error
    return head.with_entries(der, signature, packed, {head.issuer.folded: 0}, begin)


def point_names(
    full: list[x509.GeneralName] | None, relative: x509.RelativeDistinguishedName | None, below: DistinguishedName
) -> frozenset[PointName] | None:
    """The names of a distribution point; a relative one continues the name `below`. None when it has no name.

    Raises `ValueError` for a name that cannot be read.
    """
    if relative is not None:
        tail = parse_name(x509.Name([relative]).public_bytes())
        return frozenset({("directoryName", DistinguishedName(below.relative_names + tail.relative_names).folded)})
    if full is None:
        return None
    return frozenset(
        ("directoryName", parse_name(name.value.public_bytes()).folded)
        if isinstance(name, x509.DirectoryName)
        else (type(name).__name__, str(name.value))
        for name in full
    )


# --- parts ---------------------------------------------------------------------------------------------------------


class _Outline(NamedTuple):
    """Where things are, as (begin, end): the signed part, its content, the issuer as a whole element, the entries as a
    whole element and their content."""

    signed: tuple[int, int]
    content: tuple[int, int]
    issuer: tuple[int, int]
    revoked: tuple[int, int]
    entries: tuple[int, int]


class _Head(NamedTuple):
    """All of a list but its entries."""

    parsed: x509.CertificateRevocationList
    outline: _Outline
    issuer: DistinguishedName
    number: int
    base_number: int | None
    this_update: datetime
    next_update: datetime
    scope: Scope
    authority_key_id: bytes | None

    def with_entries(
        self, head: bytes, signature: Signature, rows: bytes, issuers: dict[FoldedName, int], begin: int = 0
    ) -> RevocationList:
        return RevocationList(
            self.issuer,
            self.issuer.folded,
            self.number,
            self.base_number,
            self.this_update,
            self.next_update,
            self.scope,
            self.authority_key_id,
            signature,
            head,
            rows,
            issuers,
            begin,
        )


def _read_head(der: bytes) -> _Head:
    """Raises `Invalid` as `parse_revocation_list`."""
    try:
        parsed = x509.load_der_x509_crl(der)
        extensions = parsed.extensions
        this_update, next_update = parsed.last_update_utc, parsed.next_update_utc
        outline = _outline(der)
        issuer = parse_name(der[slice(*outline.issuer)])
    except (
        ValueError,
        TypeError,
        IndexError,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise Invalid("crl.malformed", f"this is not a well-formed revocation list: {error}") from error
    shown = issuer.rfc4514()
    if not issuer.relative_names:
        raise Invalid("crl.malformed", "the revocation list names no issuer")
    if next_update is None:
        raise Invalid(
            "crl.no_next_update",
            f"the list of '{shown}' does not say when there will be another, so nobody can say when it is too old",
        )
    number, base_number, scope, key_id = _read_extensions(extensions, issuer)
    if not has_strong_signature(parsed):
        raise Invalid(
            "crl.weak_signature",
            f"the list of '{shown}' is signed with {describe_signature(parsed)}; accepted are {STRONG_SIGNATURES}",
        )
    return _Head(parsed, outline, issuer, number, base_number, this_update, next_update, scope, key_id)


def _outline(der: bytes) -> _Outline:
    """RFC 5280 5.1, of a list that the library has read: nothing follows it, and both say how it is signed alike.

    Raises `ValueError` or `IndexError`.
    """
    _, signed, _ = element(der, 0)
    _, content, signed_end = element(der, signed)
    at = content
    # A list of version 1 does not say so; it has no extensions, and is refused for having no number.
    if der[at] == _INTEGER:
        at = element(der, at)[2]
    issuer = element(der, at)[2]
    at = element(der, issuer)[2]
    issuer_end = at
    at = element(der, at)[2]
    # nextUpdate and revokedCertificates may both be missing; the extensions have a tag of their own.
    if at < signed_end and der[at] in (_UTC_TIME, 0x18):
        at = element(der, at)[2]
    revoked = entries = (at, at)
    if at < signed_end and der[at] == _SEQUENCE:
        _, begin, stop = element(der, at)
        revoked, entries = (at, stop), (begin, stop)
    return _Outline((signed, signed_end), (content, signed_end), (issuer, issuer_end), revoked, entries)


def _without_entries(der: bytes, at: _Outline) -> bytes:
    content = der[at.content[0] : at.revoked[0]] + der[at.revoked[1] : at.content[1]]
    return _sequence(_sequence(content) + der[at.signed[1] :])


def _sequence(content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((_SEQUENCE, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((_SEQUENCE, 0x80 | len(length))) + length + content


def _read_extensions(
    extensions: x509.Extensions, issuer: DistinguishedName
) -> tuple[int, int | None, Scope, bytes | None]:
    """CRL number, base number, scope, authority key identifier."""
    shown = issuer.rfc4514()
    number: int | None = None
    base_number: int | None = None
    scope, key_id = Scope(), None
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.CRLNumber):
            if extension.critical:
                raise Invalid("crl.number", f"the number of the list of '{shown}' is critical (RFC 5280 5.2.3)")
            number = value.crl_number
        elif isinstance(value, x509.DeltaCRLIndicator):
            base_number = value.crl_number
        elif isinstance(value, x509.AuthorityKeyIdentifier):
            key_id = value.key_identifier
        elif isinstance(value, x509.IssuingDistributionPoint):
            scope = _scope(value, issuer)
        elif extension.critical and extension.oid != ExtensionOID.ISSUER_ALTERNATIVE_NAME:
            raise Invalid(
                "crl.critical_extension",
                f"the list of '{shown}' has the critical extension {extension.oid.dotted_string}, which is not "
                "understood here",
            )
    if number is None:
        raise Invalid(
            "crl.number",
            f"the list of '{shown}' has no number (RFC 5280 5.2.3), so nobody can say which of two is the later",
            fix="publish it with a crlNumber; for `openssl ca` that is crlnumber and crl_extensions in its settings",
        )
    return number, base_number, scope, key_id


def _scope(point: x509.IssuingDistributionPoint, issuer: DistinguishedName) -> Scope:
    try:
        points = point_names(point.full_name, point.relative_name, issuer)
    except ValueError as error:
        raise Invalid("crl.malformed", f"the list's distribution point cannot be read: {error}") from error
    some = point.only_some_reasons
    return Scope(
        points,
        point.only_contains_user_certs,
        point.only_contains_ca_certs,
        point.only_contains_attribute_certs,
        point.indirect_crl,
        ALL_REASONS if some is None else ALL_REASONS & some,
    )


def _read_entries(der: bytes, at: int, end: int, issuers: dict[FoldedName, int], *, indirect: bool) -> bytes:
    """Rows, sorted. `issuers` is filled with the issuers that entries name.

    The library has been over the same bytes, so lengths and dates are sound; this loop is written for a million turns.
    """
    rows: list[bytes] = []
    prefix = _OWN_ISSUER
    while at < end:
        body, stop = at + 2, at + 2 + der[at + 1]
        if der[at + 1] >= 0x80:
            _, body, stop = element(der, at)
        serial = body + 2
        date = serial + der[body + 1]
        if der[body + 1] > _SERIAL:
            raise Invalid("crl.malformed", "a serial number of more than 20 bytes")
        digits = date + 2
        extensions = digits + der[date + 1]
        if der[date] == _UTC_TIME:
            moment = int(der[digits : digits + 12])
            moment += 19_000_000_000_000 if moment >= 500_000_000_000 else 20_000_000_000_000
        else:
            moment = int(der[digits : digits + 14])
            if moment < _FIRST_MOMENT:
                raise Invalid("crl.malformed", "an entry is dated before the year 1")
        reason = 0
        if extensions < stop:
            if stop - extensions == 14 and der.startswith(_REASON_ALONE, extensions):
                reason = der[stop - 1]
            else:
                reason, named = _read_entry_extensions(der, extensions, indirect=indirect)
                if named is not None:
                    prefix = _numbered(named, issuers).to_bytes(_ISSUER, "big")
            if reason not in _REASONS:
                raise Invalid("crl.malformed", f"an entry has the reason {reason}, which is none")
        number = der[serial:date].rjust(_SERIAL, b"\xff" if der[serial] & 0x80 else b"\0")
        rows.append(prefix + number + moment.to_bytes(_DATE, "big") + reason.to_bytes(_REASON, "big"))
        at = stop
        if len(rows) > MAX_ENTRIES:
            raise Invalid("crl.too_large", f"a list with more than {MAX_ENTRIES} entries")
    rows.sort()
    return b"".join(rows)


def _read_entry_extensions(der: bytes, at: int, *, indirect: bool) -> tuple[int, FoldedName | None]:
    """Reason, and the issuer of this and the following certificates where it is named (RFC 5280 5.3.3)."""
    reason, named = 0, None
    try:
        _, at, end = element(der, at)
        while at < end:
            _, inner, at = element(der, at)
            _, oid, inner = element(der, inner)
            kind = der[oid:inner]
            critical = der[inner] == 0x01 and der[inner + 2] != 0
            if der[inner] == 0x01:
                inner = element(der, inner)[2]
            _, value, _ = element(der, inner)
            if kind == _oid_bytes(CRLEntryExtensionOID.CRL_REASON):
                _, begin, stop = element(der, value)
                reason = int.from_bytes(der[begin:stop], "big")
            elif kind == _oid_bytes(CRLEntryExtensionOID.CERTIFICATE_ISSUER) and indirect:
                named = _directory_name(der, value)
            elif critical:
                raise Invalid(
                    "crl.critical_extension",
                    f"an entry of the list has the critical extension {kind.hex()}, which is not understood here",
                )
    except (ValueError, IndexError) as error:
        raise Invalid("crl.malformed", f"the extensions of an entry cannot be read: {error}") from error
    return reason, named


def _directory_name(der: bytes, at: int) -> FoldedName:
    """The directory name among GeneralNames."""
    _, at, end = element(der, at)
    while at < end:
        tag, begin, at = element(der, at)
        if tag == 0xA4:
            return parse_name(der[begin:at]).folded
    raise ValueError("a certificate issuer without a directory name")


def _numbered(issuer: FoldedName, issuers: dict[FoldedName, int]) -> int:
    index = issuers.setdefault(issuer, len(issuers))
    if index > _MAX_ISSUERS:
        raise Invalid("crl.too_large", f"a list for more than {_MAX_ISSUERS} issuers")
    return index


def _oid_bytes(oid: x509.ObjectIdentifier) -> bytes:
    """Content of an identifier under 2.5.29."""
    return bytes([0x55, 0x1D, int(oid.dotted_string.rsplit(".", 1)[1])])


def _entry(tail: bytes) -> Entry:
    digits = f"{int.from_bytes(tail[:_DATE], 'big'):014}"
    date = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return Entry(date, _REASONS[tail[_DATE]])


def _der(data: bytes) -> bytes:
    begin = data.find(b"-----BEGIN X509 CRL-----")
    if begin < 0:
        return data
    end = data.find(b"-----END X509 CRL-----", begin)
    if end < 0:
        raise Invalid("crl.malformed", "a PEM block begins but does not end; is the file whole?")
    body = data[begin + len(b"-----BEGIN X509 CRL-----") : end]
    try:
        return base64.b64decode(body.translate(None, b" \t\r\n"), validate=True)
    except binascii.Error as error:
        raise Invalid("crl.malformed", "the PEM block is not base64") from error
