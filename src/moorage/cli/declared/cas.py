"""Registered CA certificates, in the words of the files."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from moorage.cli.ca_registry import ca_base, find_ca, prove_ca, put_ca
from moorage.cli.declared.model import Declared, Member, Spec, bad, certificate, flag, text, texts
from moorage.cli.hub_client import HubClient
from moorage.errors import Conflict, Invalid

if TYPE_CHECKING:
    from moorage.pki.certificates import Certificate
    from moorage.pki.keys import PrivateKey

__all__ = ["CAs"]

_REGISTRIES: Final = ["hub", "dps"]


def _services(value: Any, folder: Path) -> list[str]:
    named = {value} if isinstance(value, str) else set(texts(value, folder))
    if not named or not named <= set(_REGISTRIES):
        raise ValueError(f"has to be {' or '.join(_REGISTRIES)}, or a list of them")
    return [registry for registry in _REGISTRIES if registry in named]


def _key_file(value: Any, folder: Path) -> str:
    return str(folder / text(value, folder))


class CAs:
    """`prove-with` names the file of its private key, which is read here, when a proof is needed, and not sent."""

    members: ClassVar[Mapping[str, Member]] = {
        "certificate": Member(certificate),
        "for": Member(_services, default=_REGISTRIES),
        "verified": Member(flag, default=False),
        "prove-with": Member(_key_file, is_input=True),
    }

    def settle(self, declared: Declared) -> Spec:
        from moorage.ids import parse_ca_name

        try:
            parse_ca_name(declared.name)
        except Invalid as refusal:
            raise bad(declared, refusal.message) from refusal
        if "certificate" not in declared.spec:
            raise bad(declared, "its certificate is missing")
        spec = {"for": _REGISTRIES, **declared.spec}
        if "prove-with" in spec and spec.setdefault("verified", True) is False:
            raise bad(declared, "prove-with proves it, and verified = false says it shall not be")
        return spec

    def find(self, hub: HubClient, declared: Declared) -> Spec | None:
        wanted = declared.spec["for"]
        found = {registry: document for registry in wanted if (document := find_ca(hub, registry, declared.name))}
        if not found:
            return None
        certificates = {_pem(document) for document in found.values()}
        return {
            # Where the two services hold different ones, neither is what was declared.
            "certificate": certificates.pop() if len(certificates) == 1 else None,
            "for": list(found),
            "verified": all(document["properties"]["isVerified"] for document in found.values()),
        }

    def all(self, hub: HubClient, *, with_keys: bool) -> Iterator[tuple[str, Spec]]:
        names = {
            document["name"]: None
            for registry in _REGISTRIES
            for document in hub.request("GET", ca_base(registry))["value"]
        }
        for name in names:
            found = {registry: document for registry in _REGISTRIES if (document := find_ca(hub, registry, name))}
            certificates = {_pem(document) for document in found.values()}
            if not certificates:
                # Deleted since they were listed.
                continue
            if len(certificates) > 1:
                raise Conflict(
                    "declared.ambiguous",
                    f"the CA '{name}' is one certificate at the hub and another at the provisioning service, which no "
                    "declaration can say; register one of them under another name",
                    fix="moorage ca list",
                )
            spec: Spec = {"certificate": certificates.pop()}
            if list(found) != _REGISTRIES:
                spec["for"] = list(found)
            if all(document["properties"]["isVerified"] for document in found.values()):
                spec["verified"] = True
            yield name, spec

    def create(self, hub: HubClient, declared: Declared) -> None:
        self.update(hub, declared)

    def update(self, hub: HubClient, declared: Declared) -> None:
        from moorage.pki.inputs import parse_certificate

        spec = declared.spec
        wanted = parse_certificate(spec["certificate"])
        # Read before anything is changed: without it the CA would stand there unproven.
        key = _key_of(hub, declared, wanted) if "prove-with" in spec else None
        vouched = bool(spec.get("verified")) and "prove-with" not in spec
        encoded = base64.b64encode(wanted.der).decode("ascii")
        for registry in spec["for"]:
            present = find_ca(hub, registry, declared.name)
            if present is None or _pem(present) != spec["certificate"]:
                present = put_ca(hub, registry, declared.name, encoded, vouched, present["etag"] if present else None)
            if vouched and not present["properties"]["isVerified"]:
                present = put_ca(hub, registry, declared.name, encoded, True, present["etag"])
            is_verified = present["properties"]["isVerified"]
            if key is not None and not is_verified:
                prove_ca(hub, registry, present, wanted, key)
            if is_verified and spec.get("verified") is False:
                raise Conflict(
                    "declared.stays",
                    "it is verified and stays so; verified = false takes that it is removed first",
                    fix=f"moorage ca delete {declared.name}",
                )


def _key_of(hub: HubClient, declared: Declared, wanted: Certificate) -> PrivateKey | None:
    """The key that proves it; None where nothing is left to prove, so that a key kept elsewhere need not be there.

    Raises `Invalid`, and `Conflict` (`proof.wrong_key`).
    """
    from moorage.cli.certificate_files import read_key
    from moorage.pki.issue import key_matches

    spec, path = declared.spec, Path(declared.spec["prove-with"])
    found = [find_ca(hub, registry, declared.name) for registry in spec["for"]]
    if all(each and each["properties"]["isVerified"] and _pem(each) == spec["certificate"] for each in found):
        return None
    try:
        key = read_key(path)
    except OSError as error:
        raise Invalid("declared.member", f"prove-with: {path} cannot be read: {error.strerror}") from None
    if not key_matches(wanted, key):
        raise Conflict("proof.wrong_key", f"{path} is not the key of '{wanted.subject}'", fix="give its own key")
    return key


def _pem(document: dict[str, Any]) -> str:
    from moorage.pki.inputs import parse_certificate

    return parse_certificate(document["properties"]["certificate"]).pem
