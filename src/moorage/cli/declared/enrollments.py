"""Enrollment groups and individual enrollments, in the words of the files.

What a GET hides, certificates and keys, is asked for by `attestationmechanism` (contract/services.md P-4); the query of
a web hook's URL by a path of our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from moorage.cli.declared.model import Declared, Member, Spec, bad, certificate, choice, flag, key, table, text, texts
from moorage.cli.hub_client import HubClient, segment
from moorage.errors import Invalid, Refusal

__all__ = ["EnrollmentGroups", "Enrollments"]

_REPROVISIONING: Final = {"migrate": (True, True), "reset": (True, False), "never": (False, False)}
_ALLOCATIONS: Final = {"hashed": "hashed", "geo-latency": "geoLatency", "static": "static", "custom": "custom"}
_SLOTS: Final = {"certificate": "primary", "secondary": "secondary"}
_CA_SLOTS: Final = {"ca": "primary", "secondary-ca": "secondary"}
_KEYS: Final = {"primary-key": "primaryKey", "secondary-key": "secondaryKey"}
_WEBHOOK: Final = ("webhook", "webhook-api-version")

_SHARED: Final[dict[str, Member]] = {
    "certificate": Member(certificate),
    "secondary": Member(certificate),
    "symmetric-key": Member(flag, default=False),
    "primary-key": Member(key, is_secret=True),
    "secondary-key": Member(key, is_secret=True),
    "status": Member(choice("enabled", "disabled"), default="enabled"),
    "reprovision": Member(choice(*_REPROVISIONING), default="migrate"),
    "edge": Member(flag, default=False),
    "allocation": Member(choice(*_ALLOCATIONS), default="hashed"),
    "hubs": Member(texts, default=[]),
    "webhook": Member(text, is_secret=True),
    "webhook-api-version": Member(text),
    "tags": Member(table, default={}),
    "desired": Member(table, default={}),
}


class _Enrollments:
    """What both collections have in common. `_slots` is the attestation's member that holds certificates."""

    members: ClassVar[Mapping[str, Member]]
    _collection: ClassVar[str]
    _own_collection: ClassVar[str]
    _id: ClassVar[str]
    _slots: ClassVar[str]

    def settle(self, declared: Declared) -> Spec:
        spec = dict(declared.spec)
        if any(member in spec for member in _KEYS):
            spec.setdefault("symmetric-key", True)
        ways = [
            way
            for way, members in (
                ("certificates", _SLOTS),
                ("registered CAs", _CA_SLOTS),
                ("a symmetric key", ("symmetric-key",)),
                ("a TPM", ("endorsement-key",)),
            )
            if any(spec.get(member) for member in members)
        ]
        if len(ways) != 1:
            known = ("certificate", "ca", "symmetric-key", "endorsement-key")
            wanted = " or ".join(member for member in known if member in self.members)
            found = " and ".join(ways) or "nothing"
            raise bad(declared, f"it attests by one of {wanted}; this says {found}")
        if "webhook" in spec and spec.get("allocation") != "custom":
            raise bad(declared, "webhook goes with allocation = custom")
        if "webhook-api-version" in spec and "webhook" not in spec:
            raise bad(declared, "webhook-api-version goes with webhook")
        return spec

    def find(self, hub: HubClient, declared: Declared) -> Spec | None:
        try:
            document = hub.request("GET", self._path(declared.name))
        except Refusal as refusal:
            if refusal.reason != "enrollment.unknown":
                raise
            return None
        mechanism = hub.request("POST", self._path(declared.name) + "/attestationmechanism")
        return self._spec(self._with_webhook(hub, declared.name, document), mechanism)

    def all(self, hub: HubClient, *, with_keys: bool) -> Iterator[tuple[str, Spec]]:
        for document in hub.query_all(f"{self._collection}/query"):
            name = document[self._id]
            mechanism = hub.request("POST", self._path(name) + "/attestationmechanism")
            spec = self._spec(self._with_webhook(hub, name, document) if with_keys else document, mechanism)
            if not with_keys:
                for member in (*_KEYS, *_WEBHOOK):
                    del spec[member]
            yield (
                name,
                {
                    member: value
                    for member, value in spec.items()
                    if value is not None and value != self.members[member].default
                },
            )

    def create(self, hub: HubClient, declared: Declared) -> None:
        if declared.spec.get("allocation") == "custom" and "webhook" not in declared.spec:
            raise Invalid(
                "declared.member", "webhook is missing, which allocation = custom needs; export has it with --keys"
            )
        body = {self._id: declared.name, "attestation": self._attestation(declared.spec, {})}
        self._fill(body, declared.spec)
        hub.request("PUT", self._path(declared.name), body=body)

    def update(self, hub: HubClient, declared: Declared) -> None:
        path = self._path(declared.name)
        body = hub.request("GET", path)
        body["attestation"] = self._attestation(declared.spec, hub.request("POST", path + "/attestationmechanism"))
        self._fill(body, declared.spec)
        hub.request("PUT", path, body=body, if_match=body["etag"])

    def _path(self, name: str) -> str:
        return f"{self._collection}/{segment(name)}"

    def _with_webhook(self, hub: HubClient, name: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        if not document.get("customAllocationDefinition"):
            return document
        webhook = hub.request("GET", f"/moorage/v1/{self._own_collection}/{segment(name)}/webhook")
        return {**document, "customAllocationDefinition": webhook}

    def _attestation(self, spec: Spec, present: Mapping[str, Any]) -> dict[str, Any]:
        """The wire's member. What `spec` does not name stays as in `present`; the hub makes keys that nobody names."""
        if spec.get("symmetric-key"):
            kept = present.get("symmetricKey") or {}
            keys = {wire: spec.get(member, kept.get(wire, "")) for member, wire in _KEYS.items()}
            return {"type": "symmetricKey", "symmetricKey": keys}
        if "endorsement-key" in spec:
            tpm = present.get("tpm") or {}
            is_same = tpm.get("endorsementKey") == spec["endorsement-key"]
            return {"type": "tpm", "tpm": tpm if is_same else {"endorsementKey": spec["endorsement-key"]}}
        x509 = present.get("x509") or {}
        if spec.keys() & _CA_SLOTS.keys():
            names = x509.get("caReferences") or {}
            references = {slot: spec.get(ca, names.get(slot)) for ca, slot in _CA_SLOTS.items()}
            return {"type": "x509", "x509": {"caReferences": references}}
        kept = x509.get(self._slots) or {}
        # A certificate that is there already is named by its `info`: to send it again would be to vouch for it.
        slots = {
            slot: {"info": kept[slot]["info"]}
            if slot in kept and spec.get(member) in (None, _pem(kept[slot]))
            else {"certificate": spec[member]}
            for member, slot in _SLOTS.items()
            if slot in kept or member in spec
        }
        return {"type": "x509", "x509": {self._slots: slots}}

    def _fill(self, body: dict[str, Any], spec: Spec) -> None:
        """Write what `spec` says over `body`."""
        if "status" in spec:
            body["provisioningStatus"] = spec["status"]
        if "reprovision" in spec:
            update, migrate = _REPROVISIONING[spec["reprovision"]]
            body["reprovisionPolicy"] = {"updateHubAssignment": update, "migrateDeviceData": migrate}
        if "edge" in spec:
            body["capabilities"] = {"iotEdge": spec["edge"]}
        if "allocation" in spec:
            body["allocationPolicy"] = _ALLOCATIONS[spec["allocation"]]
        if "hubs" in spec:
            body["iotHubs"] = spec["hubs"]
        if "webhook" in spec:
            present = (body.get("customAllocationDefinition") or {}).get("apiVersion")
            version = spec.get("webhook-api-version") or present or "2021-10-01"
            body["customAllocationDefinition"] = {"webhookUrl": spec["webhook"], "apiVersion": version}
        if "device-id" in spec:
            body["deviceId"] = spec["device-id"]
        if spec.keys() & {"tags", "desired"}:
            twin = body.get("initialTwin") or {}
            desired = (twin.get("properties") or {}).get("desired") or {}
            body["initialTwin"] = {
                "tags": spec.get("tags", twin.get("tags") or {}),
                "properties": {"desired": spec.get("desired", desired)},
            }

    def _spec(self, document: Mapping[str, Any], mechanism: Mapping[str, Any]) -> Spec:
        x509 = mechanism.get("x509") or {}
        certificates, references = x509.get(self._slots) or {}, x509.get("caReferences") or {}
        keys = mechanism.get("symmetricKey") or {}
        policy, twin = document.get("reprovisionPolicy") or {}, document.get("initialTwin") or {}
        webhook = document.get("customAllocationDefinition") or {}
        pair = (policy.get("updateHubAssignment", True), policy.get("migrateDeviceData", True))
        wire_allocation = document.get("allocationPolicy") or "hashed"
        spec: Spec = {
            **{member: _pem(certificates.get(slot)) for member, slot in _SLOTS.items()},
            "symmetric-key": mechanism["type"] == "symmetricKey",
            **{member: keys.get(wire) for member, wire in _KEYS.items()},
            "status": document.get("provisioningStatus", "enabled"),
            # Neither, and data migrated all the same: to the hub that is `never`.
            "reprovision": next((name for name, meant in _REPROVISIONING.items() if meant == pair), "never"),
            "edge": bool((document.get("capabilities") or {}).get("iotEdge")),
            "allocation": next(ours for ours, wire in _ALLOCATIONS.items() if wire == wire_allocation),
            "hubs": document.get("iotHubs") or [],
            "webhook": webhook.get("webhookUrl"),
            "webhook-api-version": webhook.get("apiVersion"),
            "tags": _user_members(twin.get("tags")),
            "desired": _user_members((twin.get("properties") or {}).get("desired")),
        }
        if "ca" in self.members:
            spec |= {member: references.get(slot) for member, slot in _CA_SLOTS.items()}
        if "device-id" in self.members:
            spec["device-id"] = document.get("deviceId")
            spec["endorsement-key"] = (mechanism.get("tpm") or {}).get("endorsementKey")
        return spec


class EnrollmentGroups(_Enrollments):
    members: ClassVar[Mapping[str, Member]] = {"ca": Member(text), "secondary-ca": Member(text), **_SHARED}
    _collection, _id, _slots = "/enrollmentGroups", "enrollmentGroupId", "signingCertificates"
    _own_collection = "enrollment-groups"


class Enrollments(_Enrollments):
    members: ClassVar[Mapping[str, Member]] = {"device-id": Member(text), "endorsement-key": Member(text), **_SHARED}
    _collection, _id, _slots = "/enrollments", "registrationId", "clientCertificates"
    _own_collection = "enrollments"


def _pem(slot: Mapping[str, Any] | None) -> str | None:
    """The certificate of a slot, canonical, so that it compares with that of a file."""
    from moorage.pki.inputs import parse_certificate

    text = (slot or {}).get("certificate")
    if not text:
        return None
    return parse_certificate(text).pem


def _user_members(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (values or {}).items() if not name.startswith("$")}
