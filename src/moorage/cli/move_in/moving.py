"""Writes what a source holds to this hub, item by item, through the Central API that both speak.

What is refused, or lacks a file, is found and told at the end; nothing else waits for it. A second run writes the same
again, so a run that was broken off goes on by being started again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from moorage.cli.hub_client import HubClient, segment
from moorage.cli.move_in.documents import (
    Document,
    Kind,
    Report,
    Slot,
    body_of,
    cloud_properties,
    parents_first,
    settable_properties,
    thumbprints,
)
from moorage.cli.move_in.sources import PREVIEW, STABLE, Source
from moorage.errors import Invalid, Refusal, Unavailable
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificates

__all__ = ["Mover", "read_certificates"]

_SUFFIXES: Final = frozenset({".pem", ".cer", ".crt", ".der"})
_MAX_CERTIFICATE_FILE_BYTES: Final = 1024 * 1024


def read_certificates(folder: Path | None) -> dict[str, Certificate]:
    """By SHA-1 thumbprint in capitals, whatever file of `folder` holds them. Files that hold none are passed over."""
    found: dict[str, Certificate] = {}
    for file in sorted(folder.rglob("*")) if folder is not None else ():
        if file.suffix.lower() not in _SUFFIXES or file.stat().st_size > _MAX_CERTIFICATE_FILE_BYTES:
            continue
        try:
            certificates = parse_certificates(file.read_bytes())
        except Invalid:
            continue
        found |= {certificate.sha1: certificate for certificate in certificates}
    return found


class Mover:
    """`is_vouched` says that certificates of groups count as verified on the word of whoever runs this."""

    def __init__(
        self,
        hub: HubClient,
        certificates: Mapping[str, Certificate],
        *,
        is_vouched: bool,
        is_rehearsal: bool,
        moved: Callable[[Kind], None],
    ) -> None:
        self.report = Report()
        self._hub = hub
        self._certificates = certificates
        self._is_vouched = is_vouched
        self._is_rehearsal = is_rehearsal
        self._moved = moved
        self._cloud: dict[str, frozenset[str]] = {}

    def move(self, source: Source) -> Report:
        """Raises `Refusal` when the source cannot be read, or this hub does not answer."""
        self.report.stays_behind = source.stays_behind
        self.report.findings += source.findings
        for kind in source.kinds:
            items: Iterable[Document] = source.items(kind)
            for item in parents_first(items) if kind.name == "organizations" else items:
                try:
                    self._move(kind, item)
                except Unavailable:
                    raise
                except Refusal as refusal:
                    if refusal.reason == "device_group.default":
                        # It came with its template.
                        continue
                    self.report.find(kind, str(item[kind.key]), f"{refusal.reason}: {refusal.message}")
                else:
                    self.report.count(kind.label)
                self._moved(kind)
        return self.report

    def _move(self, kind: Kind, item: Document) -> None:
        name = str(item[kind.key])
        match kind.name:
            case "deviceTemplates":
                self._cloud[name] = cloud_properties(item)
                self._put(kind, f"{kind.path}/{segment(name)}", _without(item, "views"))
                self._move_views(name, item.get("views") or [])
            case "enrollmentGroups":
                self._move_group(kind, name, item)
            case "devices":
                self._move_device(kind, name, item)
            case "dataExport/exports":
                # Both applications would send everything twice.
                self._put(kind, f"{kind.path}/{segment(name)}", {**body_of(item), "enabled": False})
                self.report.find(kind, name, "it is switched off here: switch it on when devices have moved")
            case "users" if item.get("type") != "email":
                self.report.find(kind, name, f"a {item.get('type')} of a directory signs in by OpenID Connect here")
            case _:
                self._put(kind, f"{kind.path}/{segment(name)}", body_of(item))

    def _move_views(self, template: str, views: Sequence[Document]) -> None:
        """Those that people made; they are saved to a draft, which is published after the last."""
        there = f"{_OWN}/deviceTemplates/{segment(template)}"
        for view in views:
            self._send("PUT", f"{there}/views/{segment(str(view.get('id', '')))}", body_of(view), "")
        if views:
            self._send("POST", f"{there}/publish", None, "")

    def _move_group(self, kind: Kind, name: str, item: Document) -> None:
        slots: dict[Slot, Any] = item.get("certificates") or {}
        path = f"{kind.path}/{segment(name)}"
        body = body_of(item) | {"attestation": _without_certificates(item.get("attestation") or {})}
        body.pop("certificates", None)
        has_other_keys = body["attestation"].get("type") == "symmetricKey" and "symmetricKey" not in body["attestation"]
        self._put(kind, path, body)
        if has_other_keys:
            self.report.find(kind, name, "it has keys of this hub: those of the other one were not in the file")
        for slot, told in slots.items():
            thumbprint = str((told.get("info") or {}).get("sha1Thumbprint", "")).upper()
            certificate = self._certificates.get(thumbprint)
            pem = told.get("certificate") or (certificate.pem if certificate is not None else "")
            if not pem:
                self.report.find(kind, name, _missing(f"its {slot} certificate", thumbprint))
                continue
            self._put(kind, f"{path}/certificates/{slot}", {"certificate": pem, "verified": self._is_vouched})
            if not self._is_vouched:
                self.report.find(
                    kind, name, f"its {slot} certificate has to be verified before it lets devices in, or use --vouch"
                )

    def _move_device(self, kind: Kind, name: str, item: Document) -> None:
        path = f"{kind.path}/{segment(name)}"
        attestation, properties = item.get("attestation"), item.get("properties") or {}
        self._put(kind, path, {key: each for key, each in body_of(item).items() if key not in _OF_DEVICES})
        if attestation:
            self._move_attestation(kind, name, attestation)
        chosen = settable_properties(properties, self._cloud.get(str(item.get("template", "")), frozenset()))
        if chosen:
            self._send("PATCH", f"{path}/properties", chosen)

    def _move_attestation(self, kind: Kind, name: str, attestation: Document) -> None:
        body = attestation
        if attestation.get("type") == "x509":
            slots: dict[str, Any] = {}
            for slot, thumbprint in thumbprints(attestation, "clientCertificates").items():
                certificate = self._certificates.get(thumbprint)
                if certificate is None:
                    self.report.find(kind, name, _missing(f"its {slot} certificate", thumbprint))
                else:
                    slots[slot] = {"certificate": certificate.pem}
            if "primary" not in slots:
                return
            body = {"type": "x509", "x509": {"clientCertificates": slots}}
        self._put(kind, f"{kind.path}/{segment(name)}/attestation", body)

    def _put(self, kind: Kind, path: str, body: Document) -> None:
        self._send("PUT", path, body, "" if kind.is_own else PREVIEW if kind.is_preview else STABLE)

    def _send(self, method: str, path: str, body: Document | None, version: str = STABLE) -> None:
        """Our own API has no versions in its query."""
        if not self._is_rehearsal:
            self._hub.request(method, path, body=body, query={"api-version": version} if version else {})


# Of our own API.
_OWN: Final = "/moorage/v1/application"
_OF_DEVICES: Final = frozenset({"attestation", "properties"})


def _without_certificates(attestation: Mapping[str, Any]) -> Document:
    return {"type": "x509"} if attestation.get("type") == "x509" else dict(attestation)


def _without(item: Mapping[str, Any], *names: str) -> Document:
    return {name: value for name, value in body_of(item).items() if name not in names}


def _missing(what: str, thumbprint: str) -> str:
    return f"{what} has the SHA-1 thumbprint {thumbprint or '(none)'}, and no file in --certificates does"
