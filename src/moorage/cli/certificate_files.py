"""Certificates and keys in files: read as people hand them in, written as the tutorials name them (decisions W7).

Keys are written 0600. Nothing is written over an existing file unless it is asked for, and then all files of a
certificate or none.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moorage.errors import Conflict, Invalid, NotFound
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificates
from moorage.pki.issue import key_matches
from moorage.pki.keys import PrivateKey, load_key
from moorage.pki.names import certificate_files, file_stem

__all__ = ["Issuer", "read_certificate", "read_certificates", "read_issuer", "read_key", "write_files"]


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs: its chain (own certificate first) and its key."""

    chain: tuple[Certificate, ...]
    key: PrivateKey

    @property
    def certificate(self) -> Certificate:
        return self.chain[0]


def read_certificates(path: Path) -> list[Certificate]:
    """Raises `Invalid`, as `parse_certificates`, with the file's name."""
    try:
        return parse_certificates(path.read_bytes())
    except Invalid as refusal:
        raise Invalid(refusal.reason, f"{path}: {refusal.message}", fix=refusal.fix) from refusal


def read_certificate(path: Path) -> Certificate:
    """The first certificate in the file."""
    return read_certificates(path)[0]


def read_key(path: Path) -> PrivateKey:
    """Raises `Invalid`, as `load_key`, with the file's name. The password is taken from MOORAGE_KEY_PASSWORD."""
    password = os.environ.get("MOORAGE_KEY_PASSWORD")
    try:
        return load_key(path.read_bytes(), password=password.encode() if password else None)
    except Invalid as refusal:
        fix = "set MOORAGE_KEY_PASSWORD" if refusal.reason == "key.password" else refusal.fix
        raise Invalid(refusal.reason, f"{path}: {refusal.message}", fix=fix) from refusal


def read_issuer(name_or_file: str, key_file: Path | None, folders: Sequence[Path]) -> Issuer:
    """An issuer by its certificate's file, or by the name it was made with in one of `folders`.

    Raises `NotFound` (`issuer.not_found`, `issuer.no_key`), `Conflict` (`issuer.wrong_key`), and `Invalid` as
    `read_certificates` and `read_key`.
    """
    candidates = [Path(name_or_file)]
    if re.search("[A-Za-z0-9]", name_or_file):
        candidates += [folder / certificate_files(file_stem(name_or_file)).certificate for folder in folders]
    certificate_file = next((file for file in candidates if file.is_file()), None)
    if certificate_file is None:
        raise _no_issuer(name_or_file, candidates)
    chain = _read_issuer_chain(certificate_file)
    stem = certificate_file.name.removesuffix("_cert.pem")
    key_file = key_file or certificate_file.with_name(certificate_files(stem).key)
    if not key_file.is_file():
        raise NotFound(
            "issuer.no_key",
            f"the key of {certificate_file} is not in {key_file}",
            fix="say where with --issuer-key FILE",
        )
    fullchain = certificate_file.with_name(certificate_files(stem).fullchain)
    if len(chain) == 1 and fullchain.is_file() and (longer := read_certificates(fullchain))[0] == chain[0]:
        chain = longer
    key = read_key(key_file)
    if not key_matches(chain[0], key):
        raise Conflict("issuer.wrong_key", f"{key_file} is not the key of '{chain[0].subject}' in {certificate_file}")
    return Issuer(tuple(chain), key)


def _no_issuer(name_or_file: str, candidates: Sequence[Path]) -> NotFound:
    given = Path(name_or_file)
    if given.is_dir():
        return NotFound(
            "issuer.not_found",
            f"{name_or_file} is a folder; the issuer is a certificate's file, or the name it was made with",
            fix=f"--issuer {shlex.quote(str(given / 'NAME_cert.pem'))}",
        )
    # What looks like a file is no name to make a root by.
    is_file_name = given.name != name_or_file or given.suffix in (".pem", ".crt", ".cer", ".der")
    return NotFound(
        "issuer.not_found",
        f"no certificate of the issuer {name_or_file!r}: there is no {' and no '.join(map(str, candidates))}",
        fix="" if is_file_name else f"moorage cert root {shlex.quote(name_or_file)}",
    )


def _read_issuer_chain(file: Path) -> list[Certificate]:
    try:
        return read_certificates(file)
    except Invalid as refusal:
        if refusal.reason != "certificate.private_key":
            raise
        beside = file.with_name(certificate_files(file.name.removesuffix("_key.pem")).certificate)
        raise Invalid(
            refusal.reason,
            f"{file} holds a private key; the issuer is its certificate's file, and the key is for --issuer-key",
            fix=f"--issuer {shlex.quote(str(beside)) if beside.is_file() else 'CERTIFICATE'} "
            f"--issuer-key {shlex.quote(str(file))}",
        ) from refusal


def write_files(files: Sequence[tuple[Path, bytes, bool]], *, force: bool) -> None:
    """Write (path, content, is private). Raises `Conflict` (`file.exists`) before anything is written."""
    if not force:
        for path, _, _ in files:
            if path.exists():
                raise Conflict("file.exists", f"{path} exists", fix="--force writes over it, --out DIR goes elsewhere")
    written: list[tuple[Path, Path]] = []
    try:
        for path, content, is_private in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A new file under another name: a key never passes through a file that others may read.
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if is_private else 0o644)
            written.append((temporary, path))
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        # Not before all are there: on a full disk a certificate would stand beside the key of the one before.
        for temporary, path in written:
            temporary.replace(path)
    finally:
        for temporary, _ in written:
            temporary.unlink(missing_ok=True)
