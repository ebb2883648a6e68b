"""`moorage ca crl`: revocation lists that the hub looks at, where they come from, and what becomes of who is unknown.

CA is the name of a registered CA, or the file of a CA certificate which a registered one vouches for.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, escape_time, print_json, print_table
from moorage.errors import NotFound

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient
    from moorage.pki.certificates import Certificate

__all__ = ["crl"]

_PATH: Final = "/moorage/v1/revocation"
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
# Reading a million entries takes seconds, and a server of a list has two minutes.
_PATIENCE_S: Final = 180.0
_ca_argument = click.argument("ca", metavar="CA")
_none_option = click.option("--none", is_flag=True, help="Take it back.")


@click.group(cls=Group)
def crl() -> None:
    """Say which certificates are revoked.

    CA is the name of a registered CA, or the file of a CA certificate below one."""


@crl.command("add")
@click.argument("files", type=_FILE, nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--signer",
    "signers",
    type=_FILE,
    multiple=True,
    metavar="CA_FILE",
    help="The certificate of the CA that signed it, where only a CA above it is registered; may be repeated.",
)
@pass_invocation
def add(invocation: Invocation, files: tuple[Path, ...], signers: tuple[Path, ...]) -> None:
    """Take the revocation lists in FILE: devices on them are cut and kept out."""
    from moorage.cli.certificate_files import read_certificates

    certificates = [certificate for file in signers for certificate in read_certificates(file)]
    contents = [_with_signers(file.read_bytes(), certificates) for file in files]
    hub = invocation.hub()
    for content in contents:
        raw = ("application/pkix-crl", content)
        document = hub.request("POST", f"{_PATH}/lists", raw=raw, patience_s=_PATIENCE_S)
        invocation.report(document, f"Took the list of {escape(document['subject'])}: {_state(document)}.")


@crl.command("list")
@pass_invocation
def list_issuers(invocation: Invocation) -> None:
    """List CAs whose lists or responders are looked at."""
    documents = invocation.hub().request("GET", f"{_PATH}/issuers")["issuers"]
    documents.sort(key=lambda document: str(document["subject"]))
    if invocation.as_json:
        for document in documents:
            print_json(document)
        return
    print_table(
        ["CA", "policy", "list", "revoked", "next due", "from"],
        [
            [
                document["subject"],
                document["policy"],
                ", ".join(each["number"] for each in document["lists"]),
                sum(each["entries"] for each in document["lists"]),
                min((escape_time(each["nextUpdate"]) for each in document["lists"]), default=""),
                document["crlUrl"] or ("OCSP" if document["ocspUrl"] else ""),
            ]
            for document in documents
        ],
        dispensable=["from"],
    )
    for document in documents:
        for warning in _warnings(document):
            click.echo(f"Attention: {escape(warning)}")


@crl.command("show")
@_ca_argument
@pass_invocation
def show(invocation: Invocation, ca: str) -> None:
    """Show what is kept about the lists of CA."""
    hub = invocation.hub()
    invocation.show(hub.request("GET", _path(hub, ca)))


@crl.command("policy")
@_ca_argument
@click.argument("policy", type=click.Choice(["hard", "soft", "off", "default"]))
@pass_invocation
def set_policy(invocation: Invocation, ca: str, policy: str) -> None:
    """Decide what becomes of certificates that nobody knows about.

    hard keeps them out, soft lets them in and says so, off looks at nothing. The default is off until there is a list
    or an address to ask at, and soft then. A certificate that is known to be revoked is refused under both hard and
    soft.
    """
    hub = invocation.hub()
    document = _change(hub, ca, {"policy": None if policy == "default" else policy})
    invocation.report(
        document,
        f"The policy for certificates of {escape(document['subject'])} is {document['policy']}.",
        *(f"Attention: {escape(warning)}" for warning in _warnings(document)),
    )


@crl.command("url")
@_ca_argument
@click.argument("url", required=False)
@_none_option
@pass_invocation
def set_url(invocation: Invocation, ca: str, url: str | None, none: bool) -> None:
    """Say where the list of CA is fetched from, again and again.

    The hub calls public addresses over TLS; others need `moorage up --egress-allow HOST`.
    """
    hub = invocation.hub()
    document = _change(hub, ca, {"crlUrl": _given(url, none)})
    subject = escape(document["subject"])
    if document["crlUrl"] is None:
        invocation.report(document, f"The list of {subject} is not fetched any more.")
    else:
        invocation.report(
            document,
            f"The hub fetches the list of {subject} from there, at least once an hour.",
            f"Next: moorage ca crl fetch {ca}",
        )


@crl.command("ocsp")
@_ca_argument
@click.argument("url", required=False)
@_none_option
@pass_invocation
def set_ocsp(invocation: Invocation, ca: str, url: str | None, none: bool) -> None:
    """Say which OCSP responder is asked about certificates of CA.

    It is asked in the background. A device whose certificate it was not asked about yet waits for nothing: the policy
    decides.
    """
    hub = invocation.hub()
    document = _change(hub, ca, {"ocspUrl": _given(url, none)})
    subject = escape(document["subject"])
    asked = "No responder is" if document["ocspUrl"] is None else "The responder is"
    invocation.report(document, f"{asked} asked about certificates of {subject}.")


@crl.command("fetch")
@_ca_argument
@pass_invocation
def fetch(invocation: Invocation, ca: str) -> None:
    """Fetch the list of CA now."""
    hub = invocation.hub()
    document = hub.request("POST", _path(hub, ca) + "/fetch", patience_s=_PATIENCE_S)
    invocation.report(document, f"Fetched the list of {escape(document['subject'])}: {_state(document)}.")


@crl.command("remove")
@_ca_argument
@pass_invocation
def remove(invocation: Invocation, ca: str) -> None:
    """Forget the lists of CA and what was decided: whom they kept out may come back."""
    hub = invocation.hub()
    path = _path(hub, ca)
    document = hub.request("GET", path)
    hub.request("DELETE", path)
    invocation.report(
        {"id": document["id"], "removed": True}, f"Forgot what was kept about {escape(document['subject'])}."
    )


def _change(hub: HubClient, ca: str, members: dict[str, Any]) -> dict[str, Any]:
    certificate = base64.b64encode(_certificate(hub, ca).der).decode("ascii")
    return dict(hub.request("POST", f"{_PATH}/issuers", body={"certificate": certificate, **members}))


def _path(hub: HubClient, ca: str) -> str:
    from moorage.certificates.revocation_model import issuer_id_of

    return f"{_PATH}/issuers/{issuer_id_of(_certificate(hub, ca).subject_key)}"


def _certificate(hub: HubClient, ca: str) -> Certificate:
    """Raises `NotFound` (`ca.unknown`)."""
    from moorage.cli.ca_registry import find_ca
    from moorage.cli.certificate_files import read_certificate
    from moorage.pki.certificates import Certificate

    for registry in ("hub", "dps"):
        document = find_ca(hub, registry, ca)
        if document is not None:
            return Certificate(base64.b64decode(document["properties"]["certificate"]))
    if Path(ca).is_file():
        return read_certificate(Path(ca))
    raise NotFound("ca.unknown", f"no CA named {ca!r} is registered, and there is no such file", fix="moorage ca list")


def _given(url: str | None, none: bool) -> str | None:
    if (url is None) == (not none):
        raise click.UsageError("give a URL, or --none")
    return url


def _with_signers(content: bytes, certificates: list[Certificate]) -> bytes:
    if not certificates:
        return content
    above = "".join(certificate.pem for certificate in certificates).encode()
    if b"-----BEGIN X509 CRL-----" in content:
        return above + content
    return above + b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(content) + b"-----END X509 CRL-----\n"


def _state(document: dict[str, Any]) -> str:
    complete = [each for each in document["lists"] if each["kind"] == "complete"]
    latest = max(complete or document["lists"], key=lambda each: each["added"])
    revoked = sum(each["entries"] for each in document["lists"])
    return (
        f"number {latest['number']}, {revoked} revoked, the next one due {escape_time(latest['nextUpdate'])}; "
        f"the policy is {document['policy']}"
    )


def _warnings(document: dict[str, Any]) -> list[str]:
    failed = []
    if document["fetchFailed"]:
        failed.append(f"the list of {document['subject']} could not be fetched: {document['fetchFailed']}")
    if document["ocspFailed"]:
        failed.append(document["ocspFailed"])
    return [*document["warnings"], *failed]
