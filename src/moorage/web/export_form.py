"""Exports and destinations as the fields of their forms, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from moorage.accounts.model import OrganizationId
from moorage.automation.exports import (
    DESTINATION_KINDS,
    MAX_DESTINATIONS,
    SOURCES,
    DataExport,
    Destination,
    DestinationId,
    DestinationUse,
    Enrichment,
    ExportSource,
    MessageFilter,
    check_body,
    check_enrichment,
    kept_credential,
    parse_export_id,
)
from moorage.automation.filters import OPERATORS, Operator, PropertyFilter, check_filter, is_path
from moorage.dialects.json_text import parse_json
from moorage.errors import Conflict, Invalid
from moorage.hub.routing_model import EndpointKind
from moorage.ids import HubId, Secret
from moorage.web.automation_forms import rows_of, typed_value, value_text
from moorage.web.forms import about

__all__ = [
    "ENRICHMENT_TYPED",
    "FILTER_TYPED",
    "KIND_WORDS",
    "MAX_ROWS",
    "SOURCE_WORDS",
    "destination_fields",
    "destination_of",
    "export_fields",
    "export_of",
]

MAX_ROWS: Final = 10
_FILTER: Final = ("fname", "fkind", "foperator", "fvalue")
_ENRICHMENT: Final = ("ekey", "ekind", "evalue")
_USE: Final = ("use", "utemplate")
# Of these what people type, and do not choose from a list.
FILTER_TYPED: Final = ("fname", "fvalue")
ENRICHMENT_TYPED: Final = ("ekey", "evalue")
SOURCE_WORDS: Final[Mapping[ExportSource, str]] = {
    "telemetry": "Telemetry",
    "properties": "Property changes",
    "deviceConnectivity": "Device connectivity",
    "deviceLifecycle": "Device lifecycle",
    "deviceTemplateLifecycle": "Device template lifecycle",
    "audit": "Audit logs",
}
KIND_WORDS: Final[Mapping[EndpointKind, str]] = {
    "webhook": "Webhook",
    "file": "Files (JSON lines)",
    "nats": "NATS",
    "kafka": "Kafka",
}
# Options that each kind takes, as their sinks read them.
_OPTIONS: Final[Mapping[EndpointKind, tuple[str, ...]]] = {
    "webhook": ("header", "shape"),
    "file": ("every",),
    "nats": ("subject",),
    "kafka": ("topic", "sasl"),
}
_MAX_TEMPLATE: Final = 64 * 1024


def destination_fields(destination: Destination) -> dict[str, str]:
    """The credential is not among them: one that is left empty stays as it is."""
    return {
        "id": destination.destination_id,
        "name": destination.display_name,
        "kind": destination.kind,
        "address": destination.address.reveal(),
        "organization": destination.organization,
        "etag": destination.etag,
        **{f"option_{name}": value for name, value in destination.options.items()},
    }


def destination_of(fields: Mapping[str, str], hub: HubId, now: datetime, present: Destination | None) -> Destination:
    """Raises `Invalid` (`export.id`, `export.credential` where the one that is kept was for another server)."""
    kind: EndpointKind = next((each for each in DESTINATION_KINDS if each == fields.get("kind")), "webhook")
    address, credential = fields.get("address", "").strip(), Secret(fields.get("credential", ""))
    if present is not None and not credential and "no_credential" not in fields:
        credential = kept_credential(present, address)
    options = {name: fields.get(f"option_{name}", "").strip() for name in _OPTIONS[kind]}
    return Destination(
        hub,
        DestinationId(parse_export_id(fields.get("id", ""))),
        fields.get("name", "").strip(),
        kind,
        Secret(address),
        now,
        credential,
        {name: value for name, value in options.items() if value},
        OrganizationId(fields.get("organization", "")),
    )


def export_fields(export: DataExport) -> dict[str, str]:
    fields = {
        "id": export.export_id,
        "name": export.display_name,
        "source": export.source,
        "template": export.template,
        "organization": export.organization,
        "joined": export.matches,
        "etag": export.etag,
    }
    if export.is_enabled:
        fields["enabled"] = "on"
    rows: list[tuple[str, str, str, str]] = [
        (each.name, each.kind, each.operator, _filter_text(each)) for each in export.filters
    ]
    rows += [
        (each.path, "cloud_property" if each.is_cloud else "property", each.operator, value_text(each.value))
        for each in export.property_filters
    ]
    for number, row in enumerate(rows):
        fields |= {f"{name}{number}": value for name, value in zip(_FILTER, row, strict=True)}
    for number, each in enumerate(export.enrichments):
        fields |= {f"ekey{number}": each.key, f"ekind{number}": each.kind, f"evalue{number}": each.value}
    for number, use in enumerate(export.destinations):
        text = "" if use.template is None else json.dumps(use.template, indent=2, ensure_ascii=False)
        fields |= {f"use{number}": use.destination_id, f"utemplate{number}": text}
    return fields


def _filter_text(each: MessageFilter) -> str:
    """A message's own properties are texts, which are compared as they stand and read back so."""
    if each.kind == "messageProperty" and isinstance(each.value, str):
        return each.value
    return value_text(each.value)


def export_of(fields: Mapping[str, str], hub: HubId, now: datetime) -> DataExport:
    """Raises `Invalid`, `Conflict` (`export.*`) of a row, with its field; `check_export` says the rest."""
    source: ExportSource = next((each for each in SOURCES if each == fields.get("source")), "telemetry")
    filters, of_properties = list[MessageFilter](), list[PropertyFilter]()
    for number, (name, kind, operator, value) in rows_of(fields, _FILTER, FILTER_TYPED, MAX_ROWS):
        chosen = _operator(operator)
        with about(f"{'fvalue' if is_path(name) else 'fname'}{number}"):
            check_filter(PropertyFilter(name, chosen, typed_value(value)), "export.filter")
        if kind in ("property", "cloud_property"):
            of_properties.append(PropertyFilter(name, chosen, typed_value(value), kind == "cloud_property"))
        elif kind == "messageProperty":
            filters.append(MessageFilter("messageProperty", name, chosen, value))
        else:
            filters.append(MessageFilter("capability", name, chosen, typed_value(value)))
    return DataExport(
        hub=hub,
        export_id=parse_export_id(fields.get("id", "")),
        display_name=fields.get("name", "").strip(),
        source=source,
        created=now,
        switched=now,
        destinations=tuple(_uses(fields)),
        template=fields.get("template", ""),
        filters=tuple(filters),
        property_filters=tuple(of_properties),
        matches="any" if fields.get("joined") == "any" else "all",
        enrichments=tuple(_enrichments(fields)),
        is_enabled="enabled" in fields,
        organization=OrganizationId(fields.get("organization", "")),
    )


def _enrichments(fields: Mapping[str, str]) -> Iterator[Enrichment]:
    keys = set[str]()
    for number, (key, kind, value) in rows_of(fields, _ENRICHMENT, ENRICHMENT_TYPED, MAX_ROWS):
        chosen: Any = kind if kind in ("property", "cloud_property", "system") else "constant"
        enrichment = Enrichment(key, chosen, value)
        try:
            check_enrichment(enrichment)
        except Invalid as refusal:
            refusal.field = f"{'ekey' if refusal.field == 'key' else 'evalue'}{number}"
            raise
        if key in keys:
            raise Conflict("export.twice", f"two enrichments have the key '{key}'", field=f"ekey{number}")
        keys.add(key)
        yield enrichment


def _uses(fields: Mapping[str, str]) -> Iterator[DestinationUse]:
    for number, (destination, text) in rows_of(fields, _USE, _USE, MAX_DESTINATIONS):
        if not destination:
            raise Invalid(
                "export.destinations", "a template is for a destination, and none was chosen", field=f"use{number}"
            )
        with about(f"utemplate{number}"):
            template = _template(text)
            check_body(template)
        yield DestinationUse(DestinationId(destination), template)


def _template(text: str) -> Any:
    if not text:
        return None
    if len(text) > _MAX_TEMPLATE:
        raise Invalid("export.template", f"the template has {len(text)} characters, at most {_MAX_TEMPLATE} are read")
    try:
        return parse_json(text.encode(), what="the template")
    except Invalid as refusal:
        raise Invalid("export.template", refusal.message) from None


def _operator(text: str) -> Operator:
    return next((each for each in OPERATORS if each == text), "equals")
