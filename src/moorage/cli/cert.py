"""`moorage cert`: certificates for trying things out, in files named as the tutorials name them (decisions W7).

Every command writes NAME_cert.pem, NAME_key.pem (0600) and NAME_fullchain.pem, NAME being the camel case of what the
certificate is for; NAME.pfx only when a password for it is given. Keys are made here and stay here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.crl import crl, revoke
from moorage.cli.lifetimes import Lifetime
from moorage.cli.output import escape
from moorage.cli.zoo import zoo
from moorage.errors import Invalid

if TYPE_CHECKING:
    from moorage.cli.certificate_files import Issuer
    from moorage.pki.certificates import Certificate
    from moorage.pki.keys import PrivateKey

__all__ = ["cert"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
# `moorage.pki.keys.KEY_KINDS`, which a test holds this to: importing it would load OpenSSL for `--help`.
_KEY_KINDS = ("rsa-2048", "rsa-3072", "rsa-4096", "ec-p256", "ec-p384")


_Function = Callable[..., None]


def _options(*options: Callable[[_Function], _Function]) -> Callable[[_Function], _Function]:
    def apply(function: _Function) -> _Function:
        for option in reversed(options):
            function = option(function)
        return function

    return apply


def _lifetime(default: str) -> Callable[[_Function], _Function]:
    return click.option(
        "--lifetime", type=Lifetime(), default=default, show_default=True, metavar="365d|12h|30s", help="From now on."
    )


_where = _options(
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(),
        metavar="DIR",
        help="Folder to write to; made when missing.  [default: this one]",
    ),
    click.option("--stem", metavar="NAME", help="What file names begin with.  [default: camel case of the name]"),
    click.option("--force", is_flag=True, help="Write over files that exist."),
)
_key = click.option("--key", "kind", type=click.Choice(_KEY_KINDS), default="ec-p256", show_default=True)
_pfx = click.option(
    "--pfx-password",
    metavar="TEXT",
    envvar="MOORAGE_PFX_PASSWORD",
    show_envvar=True,
    help="Write a PFX file too, under this password. Other users of the machine can see a command's options.",
)
_path_length = click.option("--path-length", type=click.IntRange(0, 10), help="CAs allowed below it.  [default: any]")


def _issuer(required: bool, *more_names: str) -> Callable[[_Function], _Function]:
    return _options(
        click.option(
            "--issuer",
            *more_names,
            "issuer_name",
            required=required,
            metavar="NAME_OR_FILE",
            help="Who signs: a name used with `moorage cert`, or a certificate file.",
        ),
        click.option(
            "--issuer-key", type=_FILE, metavar="FILE", help="Its key.  [default: NAME_key.pem beside NAME_cert.pem]"
        ),
    )


@click.group(cls=Group)
def cert() -> None:
    """Make and inspect certificates."""


cert.add_command(crl)
cert.add_command(revoke)
cert.add_command(zoo)


@cert.command("root")
@click.argument("name")
@_key
@_lifetime("3650d")
@_path_length
@_pfx
@_where
@pass_invocation
def root(
    invocation: Invocation,
    /,
    name: str,
    kind: str,
    lifetime: timedelta,
    path_length: int | None,
    pfx_password: str | None,
    **where: Any,
) -> None:
    """Make a root: a CA that signs itself."""
    from moorage.pki.issue import issue_root
    from moorage.pki.keys import make_key

    key = make_key(kind)
    made = issue_root(key, name, now=datetime.now(UTC), lifetime=lifetime, path_length=path_length)
    files = _write(name, [made], key, pfx_password, **where)
    _tell(invocation, made, files, f"moorage ca add {files['certificate']} --prove-with {files['key']}")


@cert.command("intermediate")
@click.argument("name")
@_issuer(True)
@_key
@_lifetime("1825d")
@_path_length
@_pfx
@_where
@pass_invocation
def intermediate(
    invocation: Invocation,
    /,
    name: str,
    issuer_name: str,
    issuer_key: Path | None,
    kind: str,
    lifetime: timedelta,
    path_length: int | None,
    pfx_password: str | None,
    **where: Any,
) -> None:
    """Make a CA below another."""
    from moorage.pki.issue import issue_intermediate
    from moorage.pki.keys import make_key

    issuer = _read_issuer(issuer_name, issuer_key, where["out"])
    key = make_key(kind)
    made = issue_intermediate(
        key.public_key(),
        name,
        issuer=issuer.certificate,
        issuer_key=issuer.key,
        now=datetime.now(UTC),
        lifetime=lifetime,
        path_length=path_length,
    )
    files = _write(name, [made, *issuer.chain], key, pfx_password, **where)
    _tell(invocation, made, files, f"moorage cert device ID --issuer {files['certificate']}", issuer)


@cert.command("device")
@click.argument("device_id", metavar="ID")
@click.option("--module", help="For this module of the device.")
@_issuer(False)
@_key
@_lifetime("365d")
@_pfx
@_where
@pass_invocation
def device(
    invocation: Invocation,
    /,
    device_id: str,
    module: str | None,
    issuer_name: str | None,
    issuer_key: Path | None,
    kind: str,
    lifetime: timedelta,
    pfx_password: str | None,
    **where: Any,
) -> None:
    """Make the certificate of the device ID; without --issuer it signs itself, to be known by its thumbprint."""
    from moorage.ids import parse_device_id, parse_module_id
    from moorage.pki.issue import issue_device, issue_self_signed
    from moorage.pki.keys import make_key

    parse_device_id(device_id)
    identity = device_id if module is None else f"{device_id}/{parse_module_id(module)}"
    issuer = None if issuer_name is None else _read_issuer(issuer_name, issuer_key, where["out"])
    key = make_key(kind)
    now = datetime.now(UTC)
    if issuer is None:
        if issuer_key is not None:
            raise click.UsageError("--issuer-key goes with --issuer")
        made = issue_self_signed(key, identity, now=now, lifetime=lifetime)
    else:
        made = issue_device(
            key.public_key(),
            identity,
            issuer=issuer.certificate,
            issuer_key=issuer.key,
            now=now,
            lifetime=lifetime,
        )
    files = _write(identity, [made, *(issuer.chain if issuer else ())], key, pfx_password, **where)
    if issuer is None:
        unless, following = "", f"moorage enrollment create {device_id} --certificate {files['certificate']}"
    else:
        unless = "it exists or provisions through a group of its CA"
        following = f"moorage device create {device_id} --auth x509-ca"
    # Under another stem it is most often the next certificate of a device that is known already.
    _tell(invocation, made, files, None if where["stem"] else following, issuer, unless=unless)


@cert.command("server")
@click.argument("hosts", metavar="HOST...", nargs=-1, required=True)
@_issuer(True)
@_key
@_lifetime("365d")
@_pfx
@_where
@pass_invocation
def server(
    invocation: Invocation,
    /,
    hosts: tuple[str, ...],
    issuer_name: str,
    issuer_key: Path | None,
    kind: str,
    lifetime: timedelta,
    pfx_password: str | None,
    **where: Any,
) -> None:
    """Make the certificate of a TLS server with all its HOST names and addresses."""
    from moorage.pki.issue import issue_server
    from moorage.pki.keys import make_key

    issuer = _read_issuer(issuer_name, issuer_key, where["out"])
    key = make_key(kind)
    names, addresses = _split(hosts)
    made = issue_server(
        key.public_key(),
        dns_names=names,
        addresses=addresses,
        issuer=issuer.certificate,
        issuer_key=issuer.key,
        now=datetime.now(UTC),
        lifetime=lifetime,
    )
    files = _write(hosts[0], [made, *issuer.chain], key, pfx_password, **where)
    _tell(invocation, made, files, f"moorage cert inspect {files['certificate']}", issuer)


@cert.command("verification")
@_issuer(True, "--ca")
@click.option("--code", "--nonce", "code", required=True, help="What `moorage ca code NAME` printed.")
@_lifetime("1d")
@_where
@pass_invocation
def verification(
    invocation: Invocation,
    /,
    issuer_name: str,
    issuer_key: Path | None,
    code: str,
    lifetime: timedelta,
    **where: Any,
) -> None:
    """Make the certificate that proves possession of a CA's key: verification_cert.pem."""
    from moorage.pki.issue import issue_verification

    issuer = _read_issuer(issuer_name, issuer_key, where["out"])
    made = issue_verification(issuer.certificate, issuer.key, code.strip(), now=datetime.now(UTC), lifetime=lifetime)
    files = _write("verification", [made], None, None, **where)
    _tell(invocation, made, files, f"moorage ca verify NAME {files['certificate']}")


@cert.command("sign-csr")
@click.argument("file", type=_FILE)
@_issuer(True)
@_lifetime("365d")
@_where
@pass_invocation
def sign_csr(
    invocation: Invocation,
    /,
    file: Path,
    issuer_name: str,
    issuer_key: Path | None,
    lifetime: timedelta,
    **where: Any,
) -> None:
    """Sign the certificate request (PKCS#10) in FILE for a device; its key never comes here."""
    from moorage.pki.inputs import parse_csr
    from moorage.pki.issue import sign_csr as sign

    try:
        request = parse_csr(file.read_bytes())
    except Invalid as refusal:
        raise Invalid(refusal.reason, f"{file}: {refusal.message}", fix=refusal.fix) from refusal
    issuer = _read_issuer(issuer_name, issuer_key, where["out"])
    made = sign(request, issuer=issuer.certificate, issuer_key=issuer.key, now=datetime.now(UTC), lifetime=lifetime)
    files = _write(made.common_name(), [made, *issuer.chain], None, None, **where)
    _tell(invocation, made, files, f"moorage cert inspect {files['certificate']}", issuer)


@cert.command("inspect")
@click.argument("file", type=_FILE)
@pass_invocation
def inspect(invocation: Invocation, file: Path) -> None:
    """Say what the certificates in FILE are: PEM, DER, or base64 of either."""
    from moorage.cli.certificate_files import read_certificates

    documents, lines = [], list[str]()
    for certificate in read_certificates(file):
        documents.append(describe(certificate))
        lines += [*_facts(certificate), ""]
    invocation.report(documents, *lines[:-1])


def describe(certificate: Certificate) -> dict[str, Any]:
    """What there is to know about a certificate, for programs."""
    extensions = certificate.extensions
    constraints = extensions.basic_constraints
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serialNumber": f"{certificate.serial_number:X}",
        "notBefore": certificate.not_before.isoformat(),
        "notAfter": certificate.not_after.isoformat(),
        "key": certificate.key,
        "isCA": certificate.is_ca,
        "pathLength": constraints.path_length if constraints else None,
        "altNames": _alt_names(certificate),
        "extendedKeyUsage": [usage.dotted_string for usage in extensions.extended_key_usage or ()],
        "sha1Thumbprint": certificate.sha1,
        "sha256Thumbprint": certificate.sha256,
    }


def _facts(certificate: Certificate) -> list[str]:
    from moorage.pki.requirements import usage_name

    now = datetime.now(UTC)
    when = "  (expired)" if now > certificate.not_after else "  (not yet)" if now < certificate.not_before else ""
    facts = {
        "subject": certificate.subject,
        "issuer": "itself" if certificate.is_self_issued else certificate.issuer,
        "valid": f"{certificate.not_before:%Y-%m-%d %H:%M:%S} to {certificate.not_after:%Y-%m-%d %H:%M:%S} UTC{when}",
        "key": certificate.key,
        "CA": _ca(certificate),
        "for": ", ".join(map(usage_name, certificate.extensions.extended_key_usage or ())),
        "names": ", ".join(_alt_names(certificate)),
        "serial": f"{certificate.serial_number:X}",
        "SHA-1": certificate.sha1,
        "SHA-256": certificate.sha256,
    }
    return [f"{name:<8} {escape(value)}" for name, value in facts.items() if value]


def _ca(certificate: Certificate) -> str:
    constraints = certificate.extensions.basic_constraints
    if not certificate.is_ca or constraints is None or constraints.path_length is None:
        return "yes" if certificate.is_ca else "no"
    return (
        f"yes, with at most {constraints.path_length} below it"
        if constraints.path_length
        else "yes, with none below it"
    )


def _alt_names(certificate: Certificate) -> list[str]:
    return [str(name.value) for name in certificate.extensions.alt_names or ()]


def _split(hosts: Sequence[str]) -> tuple[list[str], list[IPv4Address | IPv6Address]]:
    names: list[str] = []
    addresses: list[IPv4Address | IPv6Address] = []
    for host in hosts:
        try:
            addresses.append(ip_address(host))
        except ValueError:
            names.append(host)
    return names, addresses


def _read_issuer(name: str, key_file: Path | None, out: Path) -> Issuer:
    from moorage.cli.certificate_files import read_issuer

    return read_issuer(name, key_file, list(dict.fromkeys([out, Path()])))


def _write(
    name: str,
    chain: Sequence[Certificate],
    key: PrivateKey | None,
    pfx_password: str | None,
    *,
    out: Path,
    stem: str | None,
    force: bool,
) -> dict[str, str]:
    """Write the files of a certificate; their paths by what they hold."""
    from moorage.cli.certificate_files import write_files
    from moorage.pki.issue import fullchain
    from moorage.pki.keys import save_key
    from moorage.pki.names import certificate_files, file_stem
    from moorage.pki.pfx import write_pfx

    if pfx_password == "":
        raise click.UsageError("--pfx-password is empty; a PFX file without a password is an open key")
    names = certificate_files(stem or file_stem(name))
    contents: dict[str, tuple[Path, bytes, bool]] = {
        "certificate": (out / names.certificate, chain[0].pem.encode(), False),
    }
    if key is not None:
        contents["key"] = (out / names.key, save_key(key), True)
    if len(chain) > 1 or key is not None:
        contents["fullchain"] = (out / names.fullchain, fullchain(chain).encode(), False)
    if key is not None and pfx_password is not None:
        contents["pfx"] = (out / names.pfx, write_pfx(key, chain[0], chain[1:], password=pfx_password), True)
    write_files(list(contents.values()), force=force)
    return {what: str(path) for what, (path, _, _) in contents.items()}


def _tell(
    invocation: Invocation,
    made: Certificate,
    files: dict[str, str],
    following: str | None,
    issuer: Issuer | None = None,
    *,
    unless: str = "",
) -> None:
    """`following` is the next command, which is not needed where `unless` holds."""
    lines = [f"Wrote {escape(files['certificate'])} ({escape(made.subject)}, valid until {_until(made)})"]
    if "key" in files:
        lines.append(f"      {escape(files['key'])} (keep it private)")
    for what in ("fullchain", "pfx"):
        if what in files:
            lines.append(f"      {escape(files[what])}")
    if issuer is not None and not issuer.certificate.is_ca:
        lines.append(f"Note: its issuer '{escape(issuer.certificate.subject)}' is no CA: a chain through it is refused")
    if issuer is not None and issuer.certificate.not_after < made.not_after:
        lines.append(
            f"Note: its issuer '{escape(issuer.certificate.subject)}' ends before it, {_until(issuer.certificate)}"
        )
    if following is not None:
        lines.append(f"Next{f', unless {unless}' if unless else ''}: {escape(following)}")
    invocation.report({"files": files, **describe(made)}, *lines)


def _until(certificate: Certificate) -> str:
    end = certificate.not_after
    if end - certificate.not_before > timedelta(days=2):
        return f"{end.day} {end:%B %Y}"
    return f"{end:%Y-%m-%d %H:%M:%S} UTC"
