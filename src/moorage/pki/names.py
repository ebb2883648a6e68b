"""File names of made certificates: as the SDK's generator of test certificates names them (decisions W7)."""

from __future__ import annotations

import re
from typing import NamedTuple

from moorage.errors import Invalid

__all__ = ["CertificateFiles", "certificate_files", "file_stem"]

# What separates words: everything that is awkward in a file name, the slash of a module's `device/module` included.
_SEPARATORS = re.compile(r"[^A-Za-z0-9]+")
# Where a word of camel case begins: after a small letter or digit, and before the last capital of `HTTPServer`.
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class CertificateFiles(NamedTuple):
    """The four files of one certificate."""

    certificate: str
    key: str
    fullchain: str
    pfx: str


def file_stem(name: str) -> str:
    """`sample-device-01` is `sampleDevice01`, `Plant CA 2` is `plantCa2`. Raises `Invalid` (`name.file`)."""
    words = [word for part in _SEPARATORS.split(name) for word in _HUMP.split(part) if word]
    if not words:
        raise Invalid("name.file", f"{name[:80]!r} has no letter or digit to name a file after", fix="give --stem NAME")
    return words[0].lower() + "".join(word.capitalize() for word in words[1:])


def certificate_files(stem: str) -> CertificateFiles:
    return CertificateFiles(f"{stem}_cert.pem", f"{stem}_key.pem", f"{stem}_fullchain.pem", f"{stem}.pfx")
