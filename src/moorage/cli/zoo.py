"""`moorage cert zoo` and `moorage doctor zoo`: certificates wrong in every way, and what a hub says to each."""

from __future__ import annotations

import base64
import json
import shlex
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from moorage.cli.commands import Command, Invocation, pass_invocation
from moorage.cli.output import escape, print_json, print_table
from moorage.errors import Invalid, NotFound

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient
    from moorage.pki.certificates import Certificate

__all__ = ["try_zoo", "zoo"]

_MANIFEST: Final = "zoo.json"
_ENTRY: Final = ("name", "about", "reason", "thumbprint", "fullchain", "key")
_MAKE_ONE: Final = "moorage cert zoo --ca CA"
# Some of its certificates carry the name and eleven characters more, of the 64 that a common name may have.
_MAX_DEVICE: Final = 53
_PATIENCE_S: Final = 10.0
_API_VERSION: Final = "2021-04-12"


@click.command("zoo", cls=Command)
@click.option("--ca", "--issuer", "ca", required=True, metavar="NAME_OR_FILE", help="Who signs what it can sign.")
@click.option(
    "--ca-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Its key.  [default: NAME_key.pem beside NAME_cert.pem]",
)
@click.option("--device", default="zoo-pump", show_default=True, metavar="ID", help="Whose certificates they are.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("zoo"), show_default=True)
@pass_invocation
def zoo(invocation: Invocation, ca: str, ca_key: Path | None, device: str, out: Path) -> None:
    """Make a certificate for each way of being wrong.

    Beside their files there is zoo.json, which says of each what is wrong with it and the reason that it has to cause.
    """
    from moorage.adapters.files import write_whole
    from moorage.cli.certificate_files import read_issuer
    from moorage.ids import parse_device_id
    from moorage.pki.issue import fullchain
    from moorage.pki.keys import save_key
    from moorage.pki.zoo import SPECIMENS, Breeder

    if len(parse_device_id(device)) > _MAX_DEVICE:
        raise click.UsageError(
            f"--device has {len(device)} characters, at most {_MAX_DEVICE} leave room for wrong names"
        )
    issuer = read_issuer(ca, ca_key, [Path()])
    breeder = Breeder(issuer.certificate, issuer.key, device, datetime.now(UTC))
    out.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, species in SPECIMENS.items():
        if name == "wrong-case" and device == device.swapcase():
            # Digits alone have no other case.
            continue
        specimen = species.breed(breeder)
        chain, key = f"{name}_fullchain.pem", f"{name}_key.pem"
        write_whole(out / chain, fullchain(specimen.chain).encode(), mode=0o644)
        write_whole(out / key, save_key(specimen.key))
        revocation = ""
        if specimen.revoked_by is not None:
            revocation = f"{name}.crl"
            write_whole(out / revocation, _with_signer(*specimen.revoked_by), mode=0o644)
        entries.append(
            {
                "name": name,
                "about": species.about,
                "reason": species.reason,
                "thumbprint": specimen.chain[0].sha256,
                "fullchain": chain,
                "key": key,
                "list": revocation,
            }
        )
    manifest = {"device": device, "ca": issuer.certificate.subject, "specimens": entries}
    write_whole(out / _MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n", mode=0o644)
    invocation.report(
        manifest,
        f"Wrote {len(entries)} certificates for {escape(device)} to {escape(out)}.",
        f"Next: moorage ca add CA_FILE --prove-with KEY, moorage device create {escape(device)}",
        f"      moorage doctor zoo {escape(out)}",
    )


@click.command("zoo", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR")
@pass_invocation
def try_zoo(invocation: Invocation, folder: Path) -> None:
    """Connect with every certificate of a zoo and compare what the hub says.

    Lists that belong to it are given to the hub for as long as that takes. The exit status is 1 when the hub lets in
    what it has to refuse, or refuses what it has to let in, or for another reason.
    """
    manifest = _read_manifest(folder)
    hub = invocation.hub()
    _find_device(hub, manifest["device"])
    rows, wrong = [], 0
    for entry in manifest["specimens"]:
        with _list_known(hub, folder, entry.get("list")):
            let_in = _connect(hub, manifest["device"], folder / entry["fullchain"], folder / entry["key"])
        found = "" if let_in else _reason(hub, entry["thumbprint"])
        agrees = found == entry["reason"]
        wrong += not agrees
        if invocation.as_json:
            print_json({"name": entry["name"], "expected": entry["reason"], "found": found, "agrees": agrees})
        rows.append([entry["name"], entry["about"], found or "let in", "yes" if agrees else f"no: {entry['reason']}"])
    if not invocation.as_json:
        print_table(
            ["certificate", "what is wrong", "the hub says", "as it has to"], rows, dispensable=["what is wrong"]
        )
        click.echo(f"{len(rows) - wrong} of {len(rows)} as they have to be.")
    if wrong:
        click.get_current_context().exit(1)


def _find_device(hub: HubClient, device: str) -> None:
    """Without it the hub has one reason for all. Raises `NotFound` (`device.not_found`)."""
    try:
        hub.request("GET", f"/devices/{quote(device, safe='')}")
    except NotFound as refusal:
        raise NotFound(
            refusal.reason,
            f"every certificate of the zoo is shown as the device {device!r}, which the hub does not have",
            fix=f"moorage device create {shlex.quote(device)}",
        ) from refusal


def _with_signer(der: bytes, signer: Certificate) -> bytes:
    """PEM of a list, with the certificate that signed it: what a hub takes for a CA that is not registered."""
    body = base64.encodebytes(der)
    return signer.pem.encode() + b"-----BEGIN X509 CRL-----\n" + body + b"-----END X509 CRL-----\n"


@contextmanager
def _list_known(hub: HubClient, folder: Path, name: object) -> Iterator[None]:
    """While it lasts, the hub knows of the list in a file of the zoo."""
    if not isinstance(name, str) or not name:
        yield
        return
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise Invalid("zoo.manifest", f"{folder / name} cannot be read: {error}", fix=_MAKE_ONE) from error
    path = "/moorage/v1/revocation"
    issuer = hub.request("POST", f"{path}/lists", raw=("application/pkix-crl", content))
    try:
        yield
    finally:
        hub.request("DELETE", f"{path}/issuers/{issuer['id']}")


def _read_manifest(folder: Path) -> Any:
    file = folder / _MANIFEST
    try:
        manifest = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise Invalid("zoo.manifest", f"{file} cannot be read: {error}", fix=_MAKE_ONE) from error
    if not _is_manifest(manifest):
        raise Invalid("zoo.manifest", f"{file} is none that this makes", fix=_MAKE_ONE)
    return manifest


def _is_manifest(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("specimens"), list):
        return False
    entries = value["specimens"]
    return isinstance(value.get("device"), str) and all(
        isinstance(entry, dict) and all(isinstance(entry.get(member), str) for member in _ENTRY) for entry in entries
    )


def _connect(hub: HubClient, device: str, chain: Path, key: Path) -> bool:
    """Whether the hub let the device in, over TLS with exactly that chain."""
    from moorage.protocols.mqtt import codec
    from moorage.protocols.mqtt.packets import Connect

    info = hub.info
    context = ssl.create_default_context(cafile=str(info.ca_bundle))
    # Weak keys shall reach the hub, which has to refuse them itself.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    try:
        context.load_cert_chain(chain, key)
    except OSError as error:
        raise Invalid(
            "zoo.manifest", f"{chain} or {key} cannot be used: {error}", fix="moorage cert zoo --ca CA"
        ) from error
    user = f"{info.hostname}/{device}/?api-version={_API_VERSION}"
    try:
        with (
            socket.create_connection((info.local_address, info.mqtt_port), _PATIENCE_S) as plain,
            context.wrap_socket(plain, server_hostname=info.hostname) as secure,
        ):
            secure.sendall(codec.encode(Connect(device, user_name=user, keep_alive_s=60)))
            answer = secure.recv(4)
            return answer[:1] == b"\x20" and answer[3:4] == b"\x00"
    except (ssl.SSLError, ConnectionError):
        return False


def _reason(hub: HubClient, thumbprint: str) -> str:
    """What the hub noted of the latest attempt with that certificate."""
    query = {"thumbprint": thumbprint, "limit": "1"}
    attempts = hub.request("GET", "/moorage/v1/attempts", query=query)["attempts"]
    return str(attempts[0]["reason"]) if attempts else "nothing was recorded"
