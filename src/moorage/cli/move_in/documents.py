"""What is read of an IoT Central application, and what of each document can be written to another one.

An application tells of itself through its REST API (contract/central.md 22), and does not tell everything: of a
certificate it knows the thumbprint alone, so the file has to come from whoever has it; what has no API at all
(`UNTOLD`) stays behind. Everything here is plain: documents in, documents and sentences out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

__all__ = [
    "FILE_KINDS",
    "KINDS",
    "LEFT_OUT",
    "UNTOLD",
    "Finding",
    "Kind",
    "Report",
    "body_of",
    "parents_first",
    "settable_properties",
]

Document = dict[str, Any]


class Kind(NamedTuple):
    """A collection of the API. `key` is the member that names an item; `is_preview`: an older application lacks it.

    `is_own` is one of our own API, beside the one that IoT Central has.
    """

    name: str
    label: str
    key: str = "id"
    is_preview: bool = False
    is_own: bool = False

    @property
    def path(self) -> str:
        return f"/moorage/v1/application/{self.name}" if self.is_own else f"/api/{self.name}"


# In the order in which one needs the other.
KINDS: Final = (
    Kind("organizations", "organizations"),
    Kind("deviceTemplates", "device templates", "@id"),
    Kind("enrollmentGroups", "device connection groups"),
    Kind("deploymentManifests", "edge manifests", is_preview=True),
    Kind("devices", "devices"),
    Kind("deviceGroups", "device groups"),
    Kind("users", "users"),
    Kind("scheduledJobs", "scheduled jobs"),
    Kind("dashboards", "dashboards", is_preview=True),
    Kind("dataExport/destinations", "destinations of data exports", is_preview=True),
    Kind("dataExport/exports", "data exports", is_preview=True),
)

# What a file of a whole application holds (contract/central.md NAV-16).
FILE_KINDS: Final = (
    Kind("organizations", "organizations"),
    Kind("roles", "roles", is_own=True),
    *(kind for kind in KINDS if kind.name not in ("organizations", "devices", "users", "deploymentManifests")),
    Kind("rules", "rules", is_own=True),
    Kind("queries", "saved queries", is_own=True),
)

# What no such file holds.
LEFT_OUT: Final = (
    "devices, with their data, credentials and history: `moorage device export` has the devices",
    "users and API tokens",
    "keys of groups: each gets new ones here",
    "edge manifests, drafts, pictures of dashboards, and what belongs to one person alone",
)

# contract/central.md 22.4: screens without an API, and values that no API tells.
UNTOLD: Final = (
    "telemetry and other history: IoT Central's API tells the last value alone",
    "rules, saved queries of the data explorer and audit logs: they have no API",
    "views of device templates: the API leaves them out; the generated ones are made here",
    "API tokens: their value was told once, when they were made; make new ones",
    "custom roles: the API tells their names, not their permissions",
    "the key of the storage account for files: this hub keeps files itself",
)

# What the service writes into a document, and refuses to be told.
_READ_ONLY: Final = frozenset(
    {"id", "etag", "provisioned", "lastErrors", "status", "state", "completed", "lastExportTime", "errors"}
)


class Finding(NamedTuple):
    """Something of an item that did not move, and what can be done."""

    kind: str
    name: str
    sentence: str


@dataclass(slots=True)
class Report:
    """What came of it. `moved` counts items by label, in the order of `KINDS`."""

    moved: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    stays_behind: tuple[str, ...] = UNTOLD

    def count(self, label: str) -> None:
        self.moved[label] = self.moved.get(label, 0) + 1

    def find(self, kind: Kind, name: str, sentence: str) -> None:
        self.findings.append(Finding(kind.label, name, sentence))

    def document(self) -> Document:
        return {
            "moved": self.moved,
            "findings": [finding._asdict() for finding in self.findings],
            "staysBehind": list(self.stays_behind),
        }


def body_of(document: Mapping[str, Any]) -> Document:
    """What PUT takes of what GET told."""
    return {name: value for name, value in document.items() if name not in _READ_ONLY}


def parents_first(organizations: Iterable[Document]) -> list[Document]:
    """Each behind its parent. Those in a circle, or whose parent is not among them, come last."""
    waiting, known, ordered = list(organizations), {""}, list[Document]()
    while ready := [each for each in waiting if each.get("parent", "") in known]:
        ordered += ready
        known |= {str(each["id"]) for each in ready}
        waiting = [each for each in waiting if each not in ready]
    return ordered + waiting


def settable_properties(properties: Mapping[str, Any], cloud: frozenset[str]) -> Document:
    """Of all values of a device those that somebody chose: cloud properties, and what writable ones were asked to be.

    The others come from the device itself, which will tell them again.
    """
    metadata = properties.get("$metadata", {})
    chosen: Document = {}
    for name, value in properties.items():
        if name == "$metadata":
            continue
        if name in cloud:
            chosen[name] = value
        elif "desiredValue" in metadata.get(name, {}):
            chosen[name] = metadata[name]["desiredValue"]
        elif isinstance(value, dict) and "$metadata" in value and (inner := settable_properties(value, frozenset())):
            chosen[name] = inner
    return chosen


def cloud_properties(template: Mapping[str, Any]) -> frozenset[str]:
    """Names of a template's cloud properties (contract/central.md DTDL-6)."""
    contents = template.get("capabilityModel", {}).get("contents", [])
    return frozenset(str(each.get("name")) for each in contents if _is_cloud(each))


def _is_cloud(content: Mapping[str, Any]) -> bool:
    types = content.get("@type", [])
    return "Cloud" in (types if isinstance(types, list) else [types])


Slot = Literal["primary", "secondary"]
SLOTS: Final[tuple[Slot, ...]] = ("primary", "secondary")


def thumbprints(attestation: Mapping[str, Any], member: str) -> dict[Slot, str]:
    """SHA-1 thumbprints of an X.509 attestation, in capitals; `member` is where its kind keeps its certificates."""
    certificates = (attestation.get("x509") or {}).get(member) or {}
    found: dict[Slot, str] = {}
    for slot in SLOTS:
        thumbprint = ((certificates.get(slot) or {}).get("info") or {}).get("sha1Thumbprint")
        if thumbprint:
            found[slot] = str(thumbprint).upper()
    return found
