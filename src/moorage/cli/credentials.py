"""How a device or module shall authenticate: the options that say so, and the wire's member that they become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

__all__ = ["AUTH_TYPES", "authentication_of", "changed_authentication", "credential_options", "thumbprints_of"]

AUTH_TYPES: Final = {"sas": "sas", "x509-thumbprint": "selfSigned", "x509-ca": "certificateAuthority"}

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

_Function = Callable[..., Any]


def credential_options(function: _Function) -> _Function:
    for option in (
        click.option("--secondary", type=_FILE, help="Take the secondary thumbprint from this file."),
        click.option("--certificate", type=_FILE, help="Take the primary thumbprint from this file."),
        click.option("--secondary-thumbprint", help="That of the certificate it rolls to."),
        click.option("--primary-thumbprint", help="SHA-1 or SHA-256 of its certificate, with x509-thumbprint."),
    ):
        function = option(function)
    return function


def changed_authentication(
    name: str, present: dict[str, Any], auth: str | None, thumbprints: dict[str, str]
) -> dict[str, Any]:
    """The member `authentication` of a document, `present`, with what was given in its place."""
    kind = auth or next((auth for auth, wire in AUTH_TYPES.items() if wire == present["type"]), present["type"])
    if auth is None and kind != "x509-thumbprint":
        raise click.UsageError(f"{name} is registered as {kind}, without thumbprints; add --auth x509-thumbprint")
    if kind != "x509-thumbprint" or present["type"] != AUTH_TYPES[kind]:
        changed = authentication_of(kind, thumbprints)
        # What it is already keeps its keys.
        return present if present["type"] == changed["type"] else changed
    return {**present, "x509Thumbprint": present["x509Thumbprint"] | thumbprints}


def authentication_of(auth: str, thumbprints: dict[str, str]) -> dict[str, Any]:
    if auth != "x509-thumbprint":
        if thumbprints:
            raise click.UsageError(f"--auth {auth} takes no thumbprint and no certificate")
        return {"type": AUTH_TYPES[auth]}
    if "primaryThumbprint" not in thumbprints:
        raise click.UsageError("--auth x509-thumbprint needs --primary-thumbprint or --certificate")
    return {"type": AUTH_TYPES[auth], "x509Thumbprint": thumbprints}


def thumbprints_of(
    primary_thumbprint: str | None, secondary_thumbprint: str | None, certificate: Path | None, secondary: Path | None
) -> dict[str, str]:
    """Those that were given, by their names on the wire."""
    from moorage.cli.certificate_files import read_certificate
    from moorage.ids import parse_thumbprint

    given: dict[str, str] = {}
    for slot, text, file, option in (
        ("primary", primary_thumbprint, certificate, "certificate"),
        ("secondary", secondary_thumbprint, secondary, "secondary"),
    ):
        if text and file:
            raise click.UsageError(f"give --{slot}-thumbprint or --{option}, not both")
        if text:
            given[f"{slot}Thumbprint"] = parse_thumbprint(text)
        elif file:
            given[f"{slot}Thumbprint"] = read_certificate(file).sha256
    return given
