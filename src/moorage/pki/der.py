"""As much DER as has to be read before, or instead of, a full parse.

`outline` walks the top of a certificate (RFC 5280 4.1) and hands out slices: the names as raw bytes are keys for
look-ups that cost no object, and a few faults are found which the parser behind us tolerates or only warns about.
`is_private_key` recognises keys by their shape, so that an upload that holds one is turned away without being read.
`derivation_rounds` finds what a file would have us compute before it is found that its password is wrong.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MAX_ROUNDS", "Outline", "derivation_rounds", "element", "is_private_key", "outline"]

_INTEGER = 0x02
_OCTET_STRING = 0x04
_OID = 0x06
_SEQUENCE = 0x30
_VERSION = 0xA0
_CONSTRUCTED = 0x20
_INDEFINITE = 0x80
# Nothing longer than 4 GiB is within any bound of ours; revocation lists are longer than the 16 MiB of three bytes.
_LENGTH_BYTES = 4
# RFC 5280 4.1.2.2: at most 20 octets of serial number; one more is tolerated for the leading zero.
_SERIAL_BYTES = 21


# Of deriving a key from a password. Files ask for up to a million; ten take a few seconds.
MAX_ROUNDS = 10_000_000
# Elements looked at for them. A PFX file with a chain of ten has some hundreds.
_MAX_ELEMENTS = 20_000


class Outline(NamedTuple):
    """Slices of one certificate: both names as complete DER elements."""

    issuer: bytes
    subject: bytes


def element(der: bytes, at: int) -> tuple[int, int, int]:
    """The element at `at`: tag, where its content begins, where it ends. Raises `ValueError` or `IndexError`."""
    tag = der[at]
    length = der[at + 1]
    begin = at + 2
    if length >= 0x80:
        count = length & 0x7F
        if not 1 <= count <= _LENGTH_BYTES:
            raise ValueError("a length of no definite form")
        begin += count
        length = int.from_bytes(der[at + 2 : begin], "big")
    end = begin + length
    if end > len(der):
        raise ValueError(f"an element ends at byte {end} of {len(der)}")
    return tag, begin, end


def outline(der: bytes) -> Outline:
    """Walk a certificate down to its names. Raises `ValueError` with what is wrong.

    Refused here: bytes after the end, a serial number that is zero, negative or too long (RFC 5280 4.1.2.2), and two
    signature algorithms that differ (4.1.1.2).
    """
    try:
        tag, at, end = element(der, 0)
        if tag != _SEQUENCE:
            raise ValueError("not a SEQUENCE")
        if end != len(der):
            raise ValueError(f"{len(der) - end} bytes follow the certificate")
        tag, at, after = element(der, at)
        if tag != _SEQUENCE:
            raise ValueError("no TBSCertificate")
        if der[at] == _VERSION:
            at = element(der, at)[2]
        tag, begin, at = element(der, at)
        if tag != _INTEGER or at == begin:
            raise ValueError("no serial number")
        if der[begin] & 0x80 or not any(der[begin:at]) or at - begin > _SERIAL_BYTES:
            raise ValueError("the serial number is not a positive number of at most 20 bytes")
        inner, at = at, element(der, at)[2]
        if der[inner:at] != der[after : element(der, after)[2]]:
            raise ValueError("the signature algorithm inside the signed part is not the one outside")
        issuer, at = at, element(der, at)[2]
        validity, at = at, element(der, at)[2]
        subject, at = at, element(der, at)[2]
    except IndexError:
        raise ValueError("it ends too early") from None
    return Outline(der[issuer:validity], der[subject:at])


def is_private_key(der: bytes) -> bool:
    """Whether this looks like a private key, plain or encrypted, or like a PKCS#12 file; by shape, opening nothing.

    PKCS#8 (RFC 5208) and PKCS#1 (RFC 8017 A.1.2) begin with a version 0 or 1, SEC1 (RFC 5915) with version 1 and an
    OCTET STRING, PKCS#12 (RFC 7292) with version 3; an EncryptedPrivateKeyInfo with an algorithm and an OCTET STRING.
    """
    try:
        tag, at, end = element(der, 0)
        if tag != _SEQUENCE:
            return False
        first, begin, second = element(der, at)
        if first == _INTEGER:
            version = int.from_bytes(der[begin:second], "big")
            following = der[second]
            if version == 3:
                return following == _SEQUENCE
            # PKCS#8: version, algorithm, key. PKCS#1: version and numbers. SEC1: version and key.
            return version in (0, 1) and following in (_SEQUENCE, _INTEGER, _OCTET_STRING)
        if first != _SEQUENCE or der[begin] != _OID:
            return False
        tag, _, last = element(der, second)
        return tag == _OCTET_STRING and last == end
    except (IndexError, ValueError):
        return False


def derivation_rounds(der: bytes) -> int:
    """The most rounds of deriving a key that an encrypted key or a PFX file asks for, where it says so in the open.

    They are an INTEGER behind the OCTET STRING of the salt (RFC 8018 A.2, RFC 7292 4 and C). What cannot be walked is
    passed over, and what is encrypted cannot be seen. A file of more elements than are looked at could hide them behind
    those: it counts as one that asks for too many.
    """
    most, seen = 0, 0
    waiting = [(0, len(der))]
    while waiting:
        at, end = waiting.pop()
        before = 0
        while at < end:
            seen += 1
            if seen > _MAX_ELEMENTS:
                return MAX_ROUNDS + 1
            try:
                if der[at + 1] == _INDEFINITE:
                    # BER: what is in it goes on to the end of this.
                    waiting.append((at + 2, end))
                    break
                tag, begin, behind = element(der, at)
            except (IndexError, ValueError):
                break
            if tag == _INTEGER and before == _OCTET_STRING:
                # A number that is longer is larger than any bound.
                most = max(most, int.from_bytes(der[begin : min(behind, begin + 8)], "big"))
            elif tag & _CONSTRUCTED or (tag == _OCTET_STRING and der[begin : begin + 1] == b"\x30"):
                waiting.append((begin, behind))
            before, at = tag, behind
    return most
