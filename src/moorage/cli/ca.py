"""`moorage ca`: register CA certificates with the hub and the provisioning service, and prove possession of their keys.

The registry's REST is the ARM-shaped one of contract/services.md 5. A CA is registered with both services unless
`--for` says otherwise (decisions T2). Files are read and checked here first, so a private key in one never leaves the
machine.
"""

from __future__ import annotations

import base64
import re
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moorage.cli.ca_crl import crl
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, print_json, print_table
from moorage.errors import Conflict, NotFound

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient
    from moorage.pki.certificates import Certificate

__all__ = ["ca"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_REGISTRIES = ("hub", "dps")
_for_option = click.option(
    "--for", "registry", type=click.Choice(_REGISTRIES), help="Only this service.  [default: both]"
)


@click.group(cls=Group)
def ca() -> None:
    """Register CA certificates and prove that you hold their keys."""


ca.add_command(crl)


@ca.command("add")
@click.argument("file", type=_FILE)
@click.option("--name", help="What to call it.  [default: its common name]")
@click.option("--prove-with", type=_FILE, metavar="KEY", help="Its private key: proves possession; it is not sent.")
@click.option("--verified", is_flag=True, help="Vouch for it without proof.")
@_for_option
@pass_invocation
def add(
    invocation: Invocation, file: Path, name: str | None, prove_with: Path | None, verified: bool, registry: str | None
) -> None:
    """Register the CA certificate in FILE."""
    from moorage.cli.ca_registry import prove_ca
    from moorage.cli.certificate_files import read_certificate, read_key
    from moorage.ids import parse_ca_name
    from moorage.pki.issue import key_matches

    if prove_with and verified:
        raise click.UsageError("give --prove-with or --verified, not both")
    certificate = read_certificate(file)
    name = parse_ca_name(name) if name else _name_of(certificate)
    key = read_key(prove_with) if prove_with else None
    if key is not None and not key_matches(certificate, key):
        raise Conflict(
            "proof.wrong_key",
            f"{prove_with} is not the key of '{certificate.subject}' in {file}",
            fix="give its own key",
        )
    hub = invocation.hub()
    documents = []
    for each in _chosen(registry):
        document = _register(hub, each, name, certificate, verified)
        if key is not None and not document["properties"]["isVerified"]:
            document = prove_ca(hub, each, document, certificate, key)
        documents.append(document)
    state = "proven" if key else "vouched for" if verified else "not proven yet"
    lines = [f"Registered {escape(name)} ({escape(certificate.subject)}) for {_both(registry)}: {state}."]
    if not documents[0]["properties"]["isVerified"]:
        lines.append(f"Next: moorage ca code {escape(name)}")
    else:
        lines.append(f"Next: moorage enrollment-group create GROUP --ca {escape(name)}")
    invocation.report(documents, *lines)


@ca.command("code")
@click.argument("name")
@_for_option
@pass_invocation
def code(invocation: Invocation, name: str, registry: str | None) -> None:
    """Print a new verification code for NAME; the one before stops working."""
    from moorage.cli.ca_registry import new_code

    hub = invocation.hub()
    each, document = _find_any(hub, name, registry)[0]
    document = new_code(hub, each, document)
    value = document["properties"]["verificationCode"]
    invocation.report(document, escape(value))
    if not invocation.as_json:
        # Beside the code, which a script takes from standard output.
        click.echo(
            f"Next: moorage cert verification --issuer CA_FILE --issuer-key KEY --code {escape(value)}", err=True
        )
        click.echo(f"      moorage ca verify {escape(name)} verification_cert.pem", err=True)


@ca.command("verify")
@click.argument("name")
@click.argument("file", type=_FILE)
@_for_option
@pass_invocation
def verify(invocation: Invocation, name: str, file: Path, registry: str | None) -> None:
    """Prove possession of the key of NAME with the verification certificate in FILE.

    One proof serves both services when both hold the same certificate.
    """
    from moorage.cli.ca_registry import put_ca, verify_ca
    from moorage.cli.certificate_files import read_certificate

    proof = read_certificate(file)
    hub = invocation.hub()
    (first, document), *others = _find_any(hub, name, registry)
    documents = [verify_ca(hub, first, document, proof)]
    encoded = document["properties"]["certificate"]
    for each, other in others:
        if other["properties"]["certificate"] == encoded and not other["properties"]["isVerified"]:
            documents.append(put_ca(hub, each, name, encoded, True, other["etag"]))
    invocation.report(documents, f"{escape(name)} is proven.")


@ca.command("list")
@_for_option
@pass_invocation
def list_cas(invocation: Invocation, registry: str | None) -> None:
    """List registered CA certificates."""
    from moorage.cli.ca_registry import ca_base

    hub = invocation.hub()
    # One row for both services where both say the same.
    registries: dict[tuple[str, str, str, str, str], list[str]] = {}
    for each in _chosen(registry):
        for document in hub.request("GET", ca_base(each))["value"]:
            if invocation.as_json:
                print_json({"for": each, **document})
            properties = document["properties"]
            proven = "proven" if properties["isVerified"] else "not proven"
            until = f"{parsedate_to_datetime(properties['expiry']):%Y-%m-%dT%H:%M:%SZ}"
            row = (document["name"], proven, properties["subject"], until, properties["certificate"])
            registries.setdefault(row, []).append(each)
    if not invocation.as_json:
        print_table(
            ["name", "for", "possession", "subject", "valid until"],
            [
                [name, ", ".join(those), proven, subject, until]
                for (name, proven, subject, until, _), those in registries.items()
            ],
            dispensable=["subject", "valid until"],
        )


@ca.command("delete")
@click.argument("name")
@_for_option
@pass_invocation
def delete(invocation: Invocation, name: str, registry: str | None) -> None:
    """Distrust NAME: devices that relied on it are cut."""
    from moorage.cli.ca_registry import ca_path

    hub = invocation.hub()
    found = _find_any(hub, name, registry)
    for each, document in found:
        hub.request("DELETE", ca_path(each, name), if_match=document["etag"])
    deleted = [each for each, _ in found]
    invocation.report({"name": name, "deleted": deleted}, f"Deleted {escape(name)} for {' and '.join(deleted)}.")


def _chosen(registry: str | None) -> tuple[str, ...]:
    return (registry,) if registry else _REGISTRIES


def _both(registry: str | None) -> str:
    return {"hub": "the hub", "dps": "provisioning", None: "the hub and provisioning"}[registry]


def _find_any(hub: HubClient, name: str, registry: str | None) -> list[tuple[str, dict[str, Any]]]:
    """(registry, document) where `name` is registered, hub first. Raises `NotFound` (`ca.unknown`) when nowhere."""
    from moorage.cli.ca_registry import find_ca

    found = [(each, document) for each in _chosen(registry) if (document := find_ca(hub, each, name)) is not None]
    if not found:
        raise NotFound("ca.unknown", f"no CA named {name!r} is registered for {_both(registry)}", fix="moorage ca list")
    return found


def _register(hub: HubClient, registry: str, name: str, certificate: Certificate, verified: bool) -> dict[str, Any]:
    from moorage.cli.ca_registry import find_ca, put_ca

    known = find_ca(hub, registry, name)
    encoded = base64.b64encode(certificate.der).decode("ascii")
    if known is not None:
        # The whole certificate: two may share a SHA-1 thumbprint.
        if known["properties"]["certificate"] != encoded:
            raise Conflict(
                "ca.exists",
                f"{name!r} is registered for {_both(registry)} with another certificate",
                fix=f"choose another --name, or: moorage ca delete {name}",
            )
        if known["properties"]["isVerified"] or not verified:
            return known
    return put_ca(hub, registry, name, encoded, verified, known["etag"] if known else None)


def _name_of(certificate: Certificate) -> str:
    """Its common name, with what a name may not hold taken out."""
    name = re.sub(r"[^A-Za-z0-9\-._]+", "-", certificate.common_name()).strip("-")[:64]
    if not name:
        raise click.UsageError("its common name holds no letter or digit: give --name")
    return name
