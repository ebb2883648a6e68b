"""Data exports as values: what goes out, made into what, and where to (contract/central.md 16).

    source ──► filters ──► body (section 16) + enrichments ──► template, if any ──► each destination

A destination is a thing of its own, which several exports may name (CDE-1). An export is switched on and off; what came
before the switch is never exported (CDE-10), nor is what came while it was off.

*Transform.* The product takes a jq program for each destination. A jq program may run for ever and nothing inside this
process could stop it, so ours is a JSON template: the document that is to be sent, in which a text that begins with
`$.` is a path into the body, `$.telemetry.temperature`. `fill` is all of its meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, NewType, Protocol, get_args

from moorage.accounts.model import OrganizationId
from moorage.automation.filters import (
    ABSENT,
    MAX_FILTERS,
    Operator,
    PropertyFilter,
    Watched,
    check_filter,
    compare,
    is_kept,
    look_up,
)
from moorage.automation.naming import check_id, check_name
from moorage.automation.rule_model import ReaderTable
from moorage.errors import Conflict, Invalid, TooLarge
from moorage.fleet.model import FleetTables
from moorage.hub.model import HubTables
from moorage.hub.routing_model import EndpointKind, server_of
from moorage.ids import ETag, HubId, Secret, version_etag

__all__ = [
    "DESTINATION_KINDS",
    "MAX_BODY_BYTES",
    "MAX_DESTINATIONS",
    "MAX_ENRICHMENTS",
    "MAX_EXPORTS",
    "SOURCES",
    "SYSTEM_VALUES",
    "DataExport",
    "Destination",
    "DestinationId",
    "DestinationUse",
    "Enrichment",
    "ExportEvent",
    "ExportId",
    "ExportSource",
    "ExportTable",
    "ExportTables",
    "MessageFilter",
    "OutgoingEvent",
    "asks_properties",
    "asks_system_values",
    "check_body",
    "check_destination",
    "check_enrichment",
    "check_export",
    "enriched",
    "fill",
    "is_exported",
    "kept_credential",
    "parse_export_id",
]

DestinationId = NewType("DestinationId", str)
ExportId = NewType("ExportId", str)

DESTINATION_KINDS: Final[tuple[EndpointKind, ...]] = get_args(EndpointKind)
_ADDRESSES: Final[dict[EndpointKind, str]] = {
    "webhook": "https://example.com/hook",
    "file": "file:///srv/exports",
    "nats": "nats://host:4222",
    "kafka": "kafka://host:9092",
}
ExportSource = Literal[
    "telemetry", "properties", "deviceConnectivity", "deviceLifecycle", "deviceTemplateLifecycle", "audit"
]
SOURCES: Final[tuple[ExportSource, ...]] = get_args(ExportSource)

# LIM-12.
MAX_EXPORTS: Final = 10
MAX_DESTINATIONS: Final = 10
MAX_ENRICHMENTS: Final = 20
# Of one body that goes out: what NATS and Kafka take unless they are told otherwise. A message has at most 256 KiB, but
# a template may have it in many places.
MAX_BODY_BYTES: Final = 1024 * 1024
# Kept of what an export failed with (CDE-9).
MAX_ERRORS: Final = 20
_MAX_TEMPLATE_CHARS: Final = 16 * 1024
_MAX_TEMPLATE_DEPTH: Final = 16
_MAX_TEXT: Final = 1000
_MAX_ADDRESS: Final = 2000
_MAX_OPTIONS: Final = 10

# What an enrichment may ask of every device (CDE-7).
SYSTEM_VALUES: Final = (
    "$enabled",
    "$displayName",
    "$templateDisplayName",
    "$organizations",
    "$provisioned",
    "$simulated",
)

# RFC 9110 5.1; what frames a request is not for people to set.
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_FRAMING: Final = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "user-agent", "accept-encoding"}
)
_SECONDS: Final = re.compile(r"[0-9]{1,4}")
_KEY: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where bodies go.

    Attributes:
        address: a URL, which may be secret in parts.
        credential: what is shown to the other side: a header's value, a password; empty where there is none.
        options: what else its kind takes, as texts.
    """

    hub: HubId
    destination_id: DestinationId
    display_name: str
    kind: EndpointKind
    address: Secret
    created: datetime
    credential: Secret = Secret("")
    options: Mapping[str, str] = field(default_factory=dict)
    organization: OrganizationId = OrganizationId("")
    version: int = 1

    @property
    def etag(self) -> ETag:
        return version_etag(self.version)


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """On what a message itself says: a capability by its path, or a message property by its name (CDE-6)."""

    kind: Literal["capability", "messageProperty"]
    name: str
    operator: Operator
    value: str | int | float | bool = ""


@dataclass(frozen=True, slots=True)
class Enrichment:
    """One member that bodies get. `value` is the text itself, the path of a property, or one of `SYSTEM_VALUES`."""

    key: str
    kind: Literal["constant", "property", "cloud_property", "system"]
    value: str


@dataclass(frozen=True, slots=True)
class DestinationUse:
    """A destination of an export, with the template for it; None sends the body as it is."""

    destination_id: DestinationId
    template: Any = None


@dataclass(frozen=True, slots=True)
class DataExport:
    """`switched` is when it was switched on or off last."""

    hub: HubId
    export_id: ExportId
    display_name: str
    source: ExportSource
    created: datetime
    switched: datetime
    destinations: tuple[DestinationUse, ...] = ()
    template: str = ""
    filters: tuple[MessageFilter, ...] = ()
    property_filters: tuple[PropertyFilter, ...] = ()
    matches: Literal["all", "any"] = "all"
    enrichments: tuple[Enrichment, ...] = ()
    is_enabled: bool = True
    organization: OrganizationId = OrganizationId("")
    version: int = 1

    @property
    def etag(self) -> ETag:
        return version_etag(self.version)


@dataclass(frozen=True, slots=True)
class ExportEvent:
    """What the log does not hold: changes of cloud properties, life cycle of devices and templates, the audit trail.

    `facts` are what its body has beside what every body has: plain values, JSON-able.
    """

    source: ExportSource
    at: datetime
    device_id: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """One thing to be exported, whatever it came from, before it is filtered.

    Attributes:
        body: the members of section 16, without enrichments.
        values: what capability filters look at, by path.
        properties: message properties.
        place: of the log or of the events; grows.
    """

    device_id: str
    body: Mapping[str, Any]
    values: Mapping[str, Any]
    properties: Mapping[str, str | None]
    place: int


class ExportTable(Protocol):
    """Destinations, exports, and what waits to be exported that is in no log."""

    def find(self, hub: HubId, export_id: ExportId) -> DataExport | None: ...

    def all(self, hub: HubId) -> list[DataExport]: ...

    def put(self, export: DataExport) -> None: ...

    def delete(self, hub: HubId, export_id: ExportId) -> None: ...

    def find_destination(self, hub: HubId, destination_id: DestinationId) -> Destination | None: ...

    def destinations(self, hub: HubId) -> list[Destination]: ...

    def put_destination(self, destination: Destination) -> None: ...

    def delete_destination(self, hub: HubId, destination_id: DestinationId) -> None: ...

    def add_event(self, hub: HubId, event: ExportEvent, keep: int) -> None:
        """No more than `keep` stay, the oldest going first."""

    def events(self, hub: HubId, after: int, limit: int) -> list[tuple[int, ExportEvent]]:
        """Behind a place, each with its own."""

    def last_event(self, hub: HubId) -> int:
        """The place of the newest, 0 when there never was one."""

    def forget_events(self, hub: HubId, through: int) -> None: ...


class ExportTables(FleetTables, HubTables, Protocol):
    @property
    def exports(self) -> ExportTable: ...

    @property
    def log_readers(self) -> ReaderTable: ...


def parse_export_id(text: str) -> ExportId:
    """Raises `Invalid` (`export.id`)."""
    return ExportId(check_id(text, "export.id"))


def check_destination(destination: Destination) -> None:
    """Raises `Invalid` (`export.name`, `export.destination`)."""
    check_name(destination.display_name, "export.name")
    address = destination.address.reveal()
    if not 1 <= len(address) <= _MAX_ADDRESS or "://" not in address:
        example = _ADDRESSES[destination.kind]
        raise Invalid(
            "export.destination", f"a destination of this type has an address such as {example}", field="address"
        )
    if destination.kind == "webhook" and not address.startswith(("https://", "http://")):
        raise Invalid("export.destination", "the address of a web hook begins with https://", field="address")
    if len(destination.options) > _MAX_OPTIONS or any(len(each) > _MAX_TEXT for each in destination.options.values()):
        raise Invalid("export.destination", f"a destination has at most {_MAX_OPTIONS} options")
    if not destination.credential.reveal().isascii() or not destination.credential.reveal().isprintable():
        raise Invalid(
            "export.destination", "what is shown to the destination is ASCII text on one line", field="credential"
        )
    if destination.kind == "webhook" and destination.credential.reveal() != destination.credential.reveal().strip():
        raise Invalid("export.destination", "what is shown to a web hook has no spaces at its ends", field="credential")
    header = destination.options.get("header", "authorization")
    if not _HEADER.fullmatch(header) or header.lower() in _FRAMING:
        raise Invalid(
            "export.destination",
            f"{header[:64]!r} is no header that a credential can be shown in",
            field="header",
        )
    every = destination.options.get("every", "5")
    if not _SECONDS.fullmatch(every):
        raise Invalid("export.destination", f"{every[:20]!r} is no number of seconds from 0 to 9999", field="every")


def kept_credential(present: Destination, address: str) -> Secret:
    """What is shown to the other side where nobody said it anew, of a destination that gets this address.

    Whoever manages exports is not told it, and so may not have it sent to another server either.

    Raises `Invalid` (`export.credential`) where scheme, host or port are others.
    """
    before = server_of(present.address.reveal())
    if present.credential.reveal() and "://" in address and server_of(address) != before:
        raise Invalid(
            "export.credential",
            f"the address leads to another server than before; the credential that is kept was for "
            f"{before[:200]}, so say again what is shown to the new one",
            field="credential",
        )
    return present.credential


def check_export(export: DataExport) -> None:
    """What has to hold of an export by itself.

    Raises:
        Invalid: `export.name`, `export.destinations`, `export.filter`, `export.enrichment`, `export.template`.
        TooLarge: `export.too_many`.
        Conflict: `export.twice` for two enrichments of one key.
    """
    check_name(export.display_name, "export.name")
    if not export.destinations:
        raise Invalid("export.destinations", "an export has at least one destination")
    for count, most, named in (
        (len(export.destinations), MAX_DESTINATIONS, "destinations"),
        (len(export.filters) + len(export.property_filters), MAX_FILTERS, "filters"),
        (len(export.enrichments), MAX_ENRICHMENTS, "enrichments"),
    ):
        if count > most:
            raise TooLarge("export.too_many", f"the export has {count} {named}, at most {most} are allowed")
    for each in export.filters:
        check_filter(PropertyFilter(each.name, each.operator, each.value), "export.filter")
    for narrowing in export.property_filters:
        check_filter(narrowing, "export.filter")
    for enrichment in export.enrichments:
        check_enrichment(enrichment)
    keys = [enrichment.key for enrichment in export.enrichments]
    if len(set(keys)) != len(keys):
        raise Conflict("export.twice", "two enrichments have one key")
    for use in export.destinations:
        check_body(use.template)


def check_enrichment(enrichment: Enrichment) -> None:
    """Raises `Invalid` (`export.enrichment`)."""
    if not _KEY.fullmatch(enrichment.key):
        raise Invalid(
            "export.enrichment",
            f"{enrichment.key[:80]!r} is no key: 1 to 64 letters, digits, dots, hyphens and underscores",
            field="key",
        )
    if enrichment.kind == "system" and enrichment.value not in SYSTEM_VALUES:
        raise Invalid(
            "export.enrichment", f"{enrichment.value[:40]!r} is none of the values {', '.join(SYSTEM_VALUES)}"
        )
    if not 1 <= len(enrichment.value) <= _MAX_TEXT:
        raise Invalid(
            "export.enrichment",
            f"the value of '{enrichment.key}' has {len(enrichment.value)} characters, 1 to {_MAX_TEXT} may be",
        )


def check_body(template: Any, depth: int = 1) -> None:
    """What a body is made of. Raises `Invalid` (`export.template`)."""
    if depth > _MAX_TEMPLATE_DEPTH:
        raise Invalid("export.template", f"the template is nested deeper than {_MAX_TEMPLATE_DEPTH} levels")
    if isinstance(template, Mapping):
        members = [*template.keys(), *template.values()]
    elif isinstance(template, (list, tuple)):
        members = list(template)
    else:
        if isinstance(template, str) and len(template) > _MAX_TEMPLATE_CHARS:
            raise Invalid("export.template", f"a text of the template has {len(template)} characters")
        return
    if len(members) > _MAX_OPTIONS * 100:
        raise Invalid("export.template", f"a part of the template has {len(members)} members")
    for member in members:
        check_body(member, depth + 1)


# -- what goes out -----------------------------------------------------------------------------------------------------


def asks_properties(export: DataExport) -> bool:
    """Whether it asks of a device more than its record."""
    asked = ("property", "cloud_property")
    return bool(export.property_filters) or any(each.kind in asked for each in export.enrichments)


def asks_system_values(export: DataExport) -> bool:
    return any(each.kind == "system" for each in export.enrichments)


def is_exported(export: DataExport, event: OutgoingEvent, device: Watched | None) -> bool:
    """By template, message and properties of the device. What concerns no device, or one that is gone, has none; what
    becomes of a template concerns that template."""
    concerned = event.body.get("templateId") if device is None else device.template
    if export.template and concerned != export.template:
        return False
    held = [_holds(narrowing, event) for narrowing in export.filters]
    held += [device is not None and is_kept(narrowing, device) for narrowing in export.property_filters]
    if not held:
        return True
    return any(held) if export.matches == "any" else all(held)


def _holds(narrowing: MessageFilter, event: OutgoingEvent) -> bool:
    if narrowing.kind == "messageProperty":
        value = event.properties.get(narrowing.name, ABSENT)
    else:
        value = look_up(event.values, narrowing.name)
    return compare(value, narrowing.operator, narrowing.value)


def enriched(export: DataExport, device: Watched | None, system: Mapping[str, Any]) -> dict[str, Any]:
    """The member `enrichments` of a body. `system` has what there is of `SYSTEM_VALUES`; what is absent is left out."""
    found: dict[str, Any] = {}
    for enrichment in export.enrichments:
        value: Any = ABSENT
        match enrichment.kind:
            case "constant":
                value = enrichment.value
            case "property" if device is not None:
                value = look_up(device.properties, enrichment.value)
            case "cloud_property" if device is not None:
                value = look_up(device.cloud_properties, enrichment.value)
            case "system":
                value = system.get(enrichment.value, ABSENT)
        if value is not ABSENT:
            found[enrichment.key] = value
    return found


def fill(template: Any, body: Mapping[str, Any], weigh: Callable[[str, Any], None]) -> Any:
    """`template` with what the body has in place of every `$.path`, null where it has nothing; `$` is all of it.

    `weigh` hears of each path and of the value that is put in its place, before anything else is; it may raise.
    """
    if isinstance(template, str):
        if template != "$" and not template.startswith("$."):
            return template
        value = body if template == "$" else look_up(body, template[2:])
        found = None if value is ABSENT else value
        weigh(template, found)
        return found
    if isinstance(template, Mapping):
        return {name: fill(each, body, weigh) for name, each in template.items()}
    if isinstance(template, (list, tuple)):
        return [fill(each, body, weigh) for each in template]
    return template
