"""`moorage doctor`: what a hub would refuse, said before anything is uploaded or connected. Needs no hub."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, print_json, style
from moorage.cli.policy import WAIVER_NAMES
from moorage.cli.zoo import try_zoo
from moorage.errors import Invalid

if TYPE_CHECKING:
    from moorage.pki.certificates import Certificate
    from moorage.pki.diagnosis import Finding
    from moorage.pki.keys import PrivateKey
    from moorage.pki.revocation_lists import RevocationList
    from moorage.pki.waivers import Waiver

__all__ = ["doctor"]

_CERTIFICATE_BLOCK = re.compile(
    rb"-----BEGIN (?:X509 )?CERTIFICATE-----.*?-----END (?:X509 )?CERTIFICATE-----", re.DOTALL
)
_MAX_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Content:
    """What a file holds: certificates in its order, and what is already known of it."""

    certificates: list[Certificate]
    findings: list[Finding]
    key: PrivateKey | None = None


@click.group(cls=Group)
def doctor() -> None:
    """Find out what would be refused, and why."""


doctor.add_command(try_zoo)


@doctor.command("cert")
@click.argument(
    "files", type=click.Path(path_type=Path, exists=True, dir_okay=False), nargs=-1, required=True, metavar="FILE..."
)
@click.option("--for", "name", metavar="DEVICE", help="Who shall connect with it: a device id, or DEVICE/MODULE.")
@click.option("--pfx-password", metavar="TEXT", envvar="MOORAGE_PFX_PASSWORD", help="[env: MOORAGE_PFX_PASSWORD]")
@click.option(
    "--waive",
    "waived",
    multiple=True,
    type=click.Choice(WAIVER_NAMES),
    help="For a hub that has given this waiver. Can be repeated.",
)
@click.option(
    "--crl",
    "lists",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A revocation list, to be looked into too. Can be repeated.",
)
@pass_invocation
def cert(
    invocation: Invocation,
    files: tuple[Path, ...],
    name: str | None,
    pfx_password: str | None,
    waived: tuple[Waiver, ...],
    lists: tuple[Path, ...],
) -> None:
    """Say what a hub would refuse of the certificates in FILE, and what to do about it.

    Several files are one chain, as a device would send them: its own certificate first. CA certificates alone are
    looked at as what somebody wants to register. The exit status is 1 when something would be refused.
    """
    from moorage.pki.diagnosis import diagnose_ca, diagnose_device, diagnose_revocation

    now, waivers = datetime.now(UTC), frozenset(waived)
    contents = [_read(file, pfx_password) for file in files]
    certificates = [certificate for content in contents for certificate in content.certificates]
    findings = [finding for content in contents for finding in content.findings]
    if certificates:
        if all(certificate.is_ca for certificate in certificates) and name is None:
            findings += [finding for certificate in certificates for finding in diagnose_ca(certificate, now, waivers)]
        else:
            # What a device sends: it needs its key, and only an upload of the file would be refused for it.
            findings = [
                replace(finding, is_refusal=False) if finding.reason == "certificate.private_key" else finding
                for finding in findings
            ]
            findings += diagnose_device(certificates, now, name=name, waivers=waivers)
            findings += _keys(certificates[0], contents)
        findings += diagnose_revocation(certificates, [_read_list(file) for file in lists], now)
    findings = list(dict.fromkeys(findings))
    refused = any(finding.is_refusal for finding in findings)
    if invocation.as_json:
        print_json(
            {
                "refused": refused,
                "certificates": [_certificate_json(certificate) for certificate in certificates],
                "findings": [_finding_json(finding) for finding in findings],
            }
        )
    else:
        for certificate in certificates:
            click.echo(
                f"{escape(certificate.subject or '(no subject)')}, {escape(certificate.key)}, "
                f"{certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}"
            )
        for finding in findings:
            mark = style("refused", "bad") if finding.is_refusal else style("note", "bold")
            click.echo(f"{mark}  {escape(finding.reason)}: {escape(finding.message)}")
            if finding.fix:
                click.echo(f"  fix: {escape(finding.fix)}")
        if not findings:
            click.echo(style("Nothing to say against it.", "good"))
    if refused:
        click.get_current_context().exit(1)


def _read_list(file: Path) -> RevocationList:
    """Raises `Invalid` (`crl.*`) with the file's name."""
    from moorage.pki.revocation_lists import parse_revocation_list

    try:
        return parse_revocation_list(file.read_bytes())
    except Invalid as refusal:
        raise Invalid(refusal.reason, f"{file}: {refusal.message}", fix=refusal.fix) from refusal


def _read(file: Path, password: str | None) -> _Content:
    """Raises `Invalid` (`certificate.too_large`) only; all else that is wrong is a finding."""
    from moorage.pki.diagnosis import Finding
    from moorage.pki.inputs import parse_certificates

    with file.open("rb") as source:
        data = source.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise Invalid("certificate.too_large", f"{file} has more than {_MAX_FILE_BYTES} bytes; is it a certificate?")
    if file.suffix.lower() in (".pfx", ".p12"):
        return _read_pfx(file, data, password)
    try:
        return _Content(parse_certificates(data), [])
    except Invalid as refusal:
        finding = Finding(refusal.reason, f"{file}: {refusal.message}", refusal.fix)
    if finding.reason != "certificate.private_key":
        return _Content([], [finding])
    # What else is in the file can be looked at all the same.
    key = _key_in(data)
    blocks = b"\n".join(_CERTIFICATE_BLOCK.findall(data))
    try:
        certificates = parse_certificates(blocks) if blocks else []
    except Invalid as refusal:
        return _Content([], [finding, Finding(refusal.reason, f"{file}: {refusal.message}", refusal.fix)], key)
    beside = " beside its certificates" if certificates else ""
    finding = Finding(
        finding.reason,
        f"{file}: it holds a private key{beside}, which stays with the device; an upload of the file is refused",
        "upload the certificates alone, in a file of their own",
    )
    return _Content(certificates, [finding], key)


def _read_pfx(file: Path, data: bytes, password: str | None) -> _Content:
    from moorage.pki.diagnosis import Finding
    from moorage.pki.pfx import read_pfx

    finding = Finding(
        "certificate.private_key",
        f"{file}: a PFX file holds a private key: a device may use it, and an upload of it is refused",
        is_refusal=False,
    )
    try:
        pfx = read_pfx(data, password=password)
    except Invalid as refusal:
        fix = (
            "give its password: --pfx-password, or MOORAGE_PFX_PASSWORD" if password is None else "is it the right one?"
        )
        return _Content([], [Finding(refusal.reason, f"{file}: {refusal.message}", fix)])
    findings = [finding]
    if pfx.is_ber:
        message = f"{file}: the PFX file is written in BER, not in DER, which some programs do not read"
        findings.append(Finding("pfx.ber", message, "write it anew with a current OpenSSL", is_refusal=False))
    return _Content([pfx.certificate, *pfx.signers], findings, pfx.key)


def _key_in(data: bytes) -> PrivateKey | None:
    """None when a password protects it, or it is none that we know."""
    from moorage.pki.keys import load_key

    password = os.environ.get("MOORAGE_KEY_PASSWORD")
    try:
        return load_key(data, password=password.encode() if password else None)
    except Invalid:
        return None


def _keys(leaf: Certificate, contents: list[_Content]) -> list[Finding]:
    from moorage.pki.diagnosis import Finding
    from moorage.pki.issue import key_matches

    keys = [content.key for content in contents if content.key is not None]
    return [
        Finding("chain.own_key", f"the private key is that of '{leaf.subject}'", is_refusal=False)
        if key_matches(leaf, key)
        else Finding(
            "chain.wrong_key",
            f"the private key given is not that of '{leaf.subject}': no TLS handshake will succeed with the two",
            "find the key that the certificate was made for, or make a new pair: moorage cert device ID --issuer CA",
        )
        for key in keys
    ]


def _certificate_json(certificate: Certificate) -> dict[str, Any]:
    from moorage.cli.cert import describe

    return describe(certificate)


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "reason": finding.reason,
        "message": finding.message,
        "fix": finding.fix,
        "refusal": finding.is_refusal,
    }
