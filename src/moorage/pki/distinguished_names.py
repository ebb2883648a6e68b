"""Distinguished names (X.501), read from their DER: text for people, a key for comparing, and the common names.

The names are read here and not with `cryptography`, which warns on standard error about attributes of unusual length
and takes several times as long; a name comes from a stranger at every connection.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from moorage.pki.der import element

__all__ = ["Attribute", "DistinguishedName", "FoldedName", "parse_name"]

_SEQUENCE, _SET, _OID = 0x30, 0x31, 0x06
_COMMON_NAME = "2.5.4.3"
_MAIL_ADDRESS = "1.2.840.113549.1.9.1"
# RFC 4514 section 3, and the two more that device makers use.
_SHORT = {
    _COMMON_NAME: "CN",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.6": "C",
    "2.5.4.9": "STREET",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
    "2.5.4.5": "serialNumber",
    _MAIL_ADDRESS: "emailAddress",
}
# The string types of X.520 and how their bytes are read. T61String is read as everyone reads it, as Latin-1.
_CODECS = {
    0x0C: "utf-8",
    0x12: "ascii",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1A: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}
_SPECIAL = frozenset('"+,;<>\\')

FoldedName = tuple[frozenset[tuple[str, str]], ...]


class Attribute(NamedTuple):
    """One attribute: the type as a dotted object identifier, the value as text."""

    oid: str
    value: str


class DistinguishedName(NamedTuple):
    """Relative names in the order of the certificate, most general first. Equal names compare equal whatever string
    type they are written in; `folded` compares as RFC 5280 7.1 asks."""

    relative_names: tuple[tuple[Attribute, ...], ...]

    def common_names(self) -> list[str]:
        return [part.value for parts in self.relative_names for part in parts if part.oid == _COMMON_NAME]

    def mail_addresses(self) -> list[str]:
        """The attributes of type emailAddress, which older certificates have instead of an alternative name."""
        return [part.value for parts in self.relative_names for part in parts if part.oid == _MAIL_ADDRESS]

    @property
    def folded(self) -> FoldedName:
        """The same for names that differ in case, in spaces or in the order inside a relative name alone: for finding
        an issuer, where the signature decides. Who a device is goes by `common_names`, byte for byte."""
        return tuple(
            frozenset(
                (part.oid, " ".join(unicodedata.normalize("NFKC", part.value).split()).casefold()) for part in parts
            )
            for parts in self.relative_names
        )

    def rfc4514(self) -> str:
        """Text as in RFC 4514, most specific first; control characters are escaped, so it can be shown."""
        return ",".join(
            "+".join(f"{_SHORT.get(part.oid, part.oid)}={_escaped(part.value)}" for part in parts)
            for parts in reversed(self.relative_names)
        )


def parse_name(der: bytes) -> DistinguishedName:
    """Read an RDNSequence. Raises `ValueError`."""
    try:
        tag, at, end = element(der, 0)
        if tag != _SEQUENCE or end != len(der):
            raise ValueError("a name is not a SEQUENCE")
        relative = []
        while at < end:
            tag, inner, at = element(der, at)
            if tag != _SET:
                raise ValueError("a relative name is not a SET")
            parts = []
            while inner < at:
                tag, begin, inner = element(der, inner)
                if tag != _SEQUENCE:
                    raise ValueError("an attribute of a name is not a SEQUENCE")
                parts.append(_attribute(der, begin))
            relative.append(tuple(parts))
    except IndexError:
        raise ValueError("a name ends too early") from None
    return DistinguishedName(tuple(relative))


def _attribute(der: bytes, at: int) -> Attribute:
    tag, begin, end = element(der, at)
    if tag != _OID or begin == end:
        raise ValueError("an attribute of a name has no type")
    oid = _dotted(der[begin:end])
    tag, begin, end = element(der, end)
    codec = _CODECS.get(tag)
    if codec is None and oid == _COMMON_NAME:
        raise ValueError("a common name that is not text")
    # Any other attribute may have a syntax of its own; it stays visible and comparable as hexadecimal.
    return Attribute(oid, der[begin:end].decode(codec) if codec else der[begin:end].hex())


def _dotted(body: bytes) -> str:
    if body == b"\x55\x04\x03":
        return _COMMON_NAME
    arcs: list[int] = []
    value = 0
    for byte in body:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(value)
            value = 0
    if value or not arcs:
        raise ValueError("an object identifier ends too early")
    root = min(arcs[0] // 40, 2)
    return ".".join(map(str, (root, arcs[0] - 40 * root, *arcs[1:])))


def _escaped(value: str) -> str:
    last = len(value) - 1
    out = []
    for index, char in enumerate(value):
        if char in _SPECIAL or (char == " " and index in (0, last)) or (char == "#" and index == 0):
            out.append("\\" + char)
        elif not char.isprintable():
            out.append("".join(f"\\{byte:02X}" for byte in char.encode()))
        else:
            out.append(char)
    return "".join(out)
