"""`moorage cert revoke` and `moorage cert crl`: the revocation list of a CA whose key is at hand.

The list itself remembers what was revoked before: a second call reads it, keeps its entries and counts its number up.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from moorage.cli.commands import Command, Invocation, pass_invocation
from moorage.cli.lifetimes import Lifetime
from moorage.cli.output import escape
from moorage.errors import Conflict, Invalid

if TYPE_CHECKING:
    from moorage.cli.certificate_files import Issuer
    from moorage.pki.certificates import Certificate
    from moorage.pki.revocation_lists import RevocationList

__all__ = ["crl", "revoke"]

# `moorage.pki.list_issuing.REVOCATION_REASONS`, which a test holds this to: importing it would load OpenSSL.
_REASONS: Final = (
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "privilegeWithdrawn",
    "aACompromise",
)
_SERIAL: Final = re.compile(r"(?:0[xX])?[0-9A-Fa-f]{1,40}")


_issuer_key = click.option(
    "--issuer-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Its key.  [default: NAME_key.pem beside NAME_cert.pem]",
)
_reason = click.option("--reason", type=click.Choice(_REASONS), default="unspecified", show_default=True)
_next_update = click.option(
    "--next-update",
    type=Lifetime(),
    default="7d",
    show_default=True,
    metavar="7d|12h",
    help="When the next list is due. Whoever insists on a fresh list refuses every device after that.",
)
_out = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path(), metavar="DIR", help="Folder."
)


@click.command("crl", cls=Command)
@click.option(
    "--issuer",
    "--ca",
    "issuer_name",
    required=True,
    metavar="NAME_OR_FILE",
    help="Whose list it is: a name used with `moorage cert`, or a certificate file.",
)
@_issuer_key
@click.option(
    "--revoke",
    "revoked",
    multiple=True,
    metavar="FILE_OR_SERIAL",
    help="A certificate file, or a serial number in hexadecimal (`moorage cert inspect FILE`); may be repeated.",
)
@_reason
@_next_update
@_out
@click.option("--force", is_flag=True, help="Begin anew, and forget what a list that exists there revokes.")
@pass_invocation
def crl(
    invocation: Invocation,
    /,
    issuer_name: str,
    issuer_key: Path | None,
    revoked: tuple[str, ...],
    reason: str,
    next_update: timedelta,
    out: Path,
    force: bool,
) -> None:
    """Write NAME.crl, the revocation list of a CA.

    Run it again to revoke more, or for the next list in time: entries stay, the number counts up.
    """
    from moorage.cli.certificate_files import read_issuer

    issuer = read_issuer(issuer_name, issuer_key, list(dict.fromkeys([out, Path()])))
    _publish(invocation, issuer, revoked, reason, next_update, out, force=force)


@click.command("revoke", cls=Command)
@click.argument("revoked", nargs=-1, required=True, metavar="FILE_OR_SERIAL...")
@click.option(
    "--issuer",
    "--ca",
    "issuer_name",
    metavar="NAME_OR_FILE",
    help="Who issued it.  [default: the certificate made with `moorage cert` for the name that it gives]",
)
@_issuer_key
@_reason
@_next_update
@_out
@pass_invocation
def revoke(
    invocation: Invocation,
    /,
    revoked: tuple[str, ...],
    issuer_name: str | None,
    issuer_key: Path | None,
    reason: str,
    next_update: timedelta,
    out: Path,
) -> None:
    """Revoke certificates: write the next list of their CA, with them on it.

    They are named by their files, or by serial numbers in hexadecimal (`moorage cert inspect FILE`) together with
    --issuer. A hub learns of it by `moorage ca crl add`, or from the place where it fetches the list.
    """
    from moorage.cli.certificate_files import read_certificate, read_issuer

    if issuer_name is None:
        file = next((Path(each) for each in revoked if Path(each).is_file()), None)
        if file is None:
            raise click.UsageError("to revoke by serial number, say who issued it: --issuer NAME_OR_FILE")
        names = read_certificate(file).issuer_name.common_names()
        if len(names) != 1:
            raise click.UsageError(f"{file} names no issuer by one common name: give --issuer NAME_OR_FILE")
        issuer_name = names[0]
    issuer = read_issuer(issuer_name, issuer_key, list(dict.fromkeys([out, Path()])))
    _publish(invocation, issuer, revoked, reason, next_update, out, force=False)


def _publish(
    invocation: Invocation,
    issuer: Issuer,
    revoked: Sequence[str],
    reason: str,
    next_update: timedelta,
    out: Path,
    *,
    force: bool,
) -> None:
    """Write the list and say so."""
    import base64

    from moorage.cli.certificate_files import write_files
    from moorage.pki.list_issuing import issue_revocation_list
    from moorage.pki.names import file_stem
    from moorage.pki.revocation_lists import Entry

    ca = issuer.certificate
    file = out / f"{file_stem(ca.common_name())}.crl"
    now = datetime.now(UTC)
    earlier = None if force else _earlier(file, ca)
    entries = {} if earlier is None else dict(earlier.serials())
    for each in revoked:
        entries.setdefault(_serial(each, ca), Entry(now, reason))
    number = 1 if earlier is None else earlier.number + 1
    try:
        until = now + next_update
    except OverflowError:
        raise Invalid("crl.next_update", "the next list would be due past the end of the calendar") from None
    der = issue_revocation_list(ca, issuer.key, entries, number=number, now=now, next_update=until)
    text = base64.encodebytes(der).replace(b"\n", b"")
    lines = b"\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    pem = b"-----BEGIN X509 CRL-----\n" + lines + b"\n-----END X509 CRL-----\n"
    write_files([(file, pem, False)], force=True)
    document: dict[str, Any] = {
        "file": str(file),
        "issuer": ca.subject,
        "number": number,
        "thisUpdate": now.isoformat(timespec="seconds"),
        "nextUpdate": until.isoformat(timespec="seconds"),
        "revoked": [
            {"serialNumber": f"{serial:X}", "date": entry.date.isoformat(timespec="seconds"), "reason": entry.reason}
            for serial, entry in entries.items()
        ],
    }
    invocation.report(
        document,
        f"Wrote {escape(str(file))} (list {number} of {escape(ca.subject)}, {len(entries)} revoked, "
        f"next due {until:%Y-%m-%d %H:%M} UTC)",
        f"Next: moorage ca crl add {shlex.quote(str(file))}",
    )


def _earlier(file: Path, ca: Certificate) -> RevocationList | None:
    """The list that this one continues. Raises `Conflict` (`file.exists`) when what is there is not that."""
    from moorage.pki.revocation_lists import parse_revocation_list

    if not file.exists():
        return None
    try:
        found = parse_revocation_list(file.read_bytes())
    except Invalid as refusal:
        raise Invalid(refusal.reason, f"{file}: {refusal.message}", fix="--force begins anew") from refusal
    if found.issuer_key != ca.subject_key or not found.signature.is_by(ca.public_key):
        raise Conflict(
            "file.exists",
            f"{file} is a list that the key of '{ca.subject}' did not sign",
            fix="--out DIR goes elsewhere, --force writes over it",
        )
    return found


def _serial(text: str, ca: Certificate) -> int:
    """Of a certificate's file, or a serial number. Raises `Invalid`: `crl.serial`, `crl.other_issuer`."""
    from moorage.cli.certificate_files import read_certificate
    from moorage.pki.policy import is_signed_by

    path = Path(text)
    if path.is_file():
        certificate = read_certificate(path)
        if certificate.issuer_key != ca.subject_key or not is_signed_by(certificate, ca):
            raise Invalid(
                "crl.other_issuer",
                f"'{certificate.subject}' in {path} was not issued by '{ca.subject}' but by '{certificate.issuer}'; "
                "only its own issuer can revoke it",
            )
        return certificate.serial_number
    plain = text.replace(":", "")
    if not _SERIAL.fullmatch(plain) or int(plain, 16) == 0:
        raise Invalid(
            "crl.serial",
            f"{text[:80]!r} is neither a file nor a serial number in hexadecimal",
            fix="moorage cert inspect FILE",
        )
    return int(plain, 16)
