"""Data exports and their destinations in the JSON of IoT Central's preview API (contract/central.md 16, 23).

What differs, and is said when it is asked for: destinations are web hooks, or of kinds of our own (`file@moorage`,
`nats@moorage`, `kafka@moorage`); a transform is a JSON template as text, not a jq program; a filter names one template
and compares properties with constants. What a filter cannot say, of messages for instance, stands in members of our
own: `template`, `filters` and `matches`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, cast, get_args

from moorage.accounts.model import OrganizationId
from moorage.automation.export_runner import ExportHealth
from moorage.automation.exports import (
    SOURCES,
    DataExport,
    Destination,
    DestinationUse,
    Enrichment,
    MessageFilter,
    kept_credential,
    parse_export_id,
)
from moorage.automation.filters import OPERATORS, Operator, PropertyFilter
from moorage.dialects.central_device_groups import parse_organizations
from moorage.dialects.json_text import parse_json
from moorage.dialects.members import check_same, get_boolean, get_object, get_text
from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.fleet.group_query import FilterRow, parse_group_query, write
from moorage.fleet.model import TemplateId
from moorage.hub.routing_model import EndpointKind
from moorage.ids import Secret

__all__ = [
    "DESTINATION_MEMBERS",
    "EXPORT_MEMBERS",
    "IsCloud",
    "changed_destination",
    "changed_export",
    "destination_json",
    "export_json",
]

DESTINATION_MEMBERS: Final = (
    "id",
    "displayName",
    "type",
    "url",
    "authorization",
    "headerCustomizations",
    "options",
    "organizations",
    "status",
    "errors",
    "lastExportTime",
    "etag",
)
EXPORT_MEMBERS: Final = (
    "id",
    "displayName",
    "enabled",
    "source",
    "filter",
    "template",
    "filters",
    "matches",
    "enrichments",
    "destinations",
    "organizations",
    "status",
    "errors",
    "lastExportTime",
    "etag",
)
# CDE-3; those that Azure alone has are not served.
_TYPES: Final[Mapping[str, EndpointKind]] = {
    "webhook@v1": "webhook",
    **{f"{kind}@moorage": kind for kind in get_args(EndpointKind) if kind != "webhook"},
}
_TYPE_OF: Final = {kind: name for name, kind in _TYPES.items()}
_HIDDEN: Final = "*****"
_OPERATORS: Final[Mapping[str, Operator]] = {
    "=": "equals",
    "!=": "not_equals",
    ">": "greater",
    ">=": "greater_or_equal",
    "<": "less",
    "<=": "less_or_equal",
}
_SIGN_OF: Final = {operator: sign for sign, operator in _OPERATORS.items()}
_NAMED: Final[Mapping[str, Operator]] = {
    re.sub(r"_(\w)", lambda match: match[1].upper(), operator): operator for operator in OPERATORS
}
_NAME_OF: Final = {operator: name for name, operator in _NAMED.items()}
_FILTER_MEMBERS: Final = ("of", "name", "operator", "value")
_STATUSES: Final = {"off": "notStarted"}
# The worse ones first.
_WORST: Final = ("error", "waiting", "starting", "healthy", "off")
_MAX_TRANSFORM: Final = 64 * 1024

# Whether a path of a template is a cloud property.
IsCloud = Callable[[TemplateId, str], bool]


# --- reading -----------------------------------------------------------------------------------------------------


def changed_destination(base: Destination, body: Mapping[str, Any]) -> Destination:
    """`base` with what the body says.

    Raises `Invalid` (`body.member`, `body.id`; `export.credential` where the one that is kept was for another server).
    """
    check_same(body, "id", base.destination_id)
    kind = base.kind
    if body.get("type") is not None:
        said = get_text(body, "type") or ""
        if said not in _TYPES:
            raise Invalid("body.member", f"type is {said[:40]!r}; served are {', '.join(_TYPES)}")
        kind = _TYPES[said]
    organization = parse_organizations(body)
    address = base.address if body.get("url") is None else Secret(get_text(body, "url") or "")
    credential, options = _parse_authorization(base, body)
    return Destination(
        base.hub,
        base.destination_id,
        get_text(body, "displayName") or base.display_name,
        kind,
        address,
        base.created,
        kept_credential(base, address.reveal()) if credential is None else credential,
        options,
        base.organization if organization is None else organization,
        base.version,
    )


def _parse_authorization(base: Destination, body: Mapping[str, Any]) -> tuple[Secret | None, dict[str, str]]:
    """(what is shown to the other side, None for what is kept; options with the header that it stands in)."""
    options = dict(base.options)
    given = get_object(body, "options")
    if given is not None:
        if not all(isinstance(each, str) for each in given.values()):
            raise Invalid("body.member", "options are texts")
        options = {**{name: value for name, value in options.items() if name == "header"}, **given}
    credential: Secret | None = None
    authorization = get_object(body, "authorization")
    headers = get_object(body, "headerCustomizations")
    if len(headers or {}) + (authorization is not None) > 1:
        raise Invalid("body.member", "a destination has one header of its own, and this body has more")
    if authorization is not None:
        if get_text(authorization, "type", "authorization.type") != "header":
            raise Invalid("body.member", "authorization.type has to be header: its value is sent as it is")
        value = get_text(authorization, "value", "authorization.value") or ""
        credential = None if value == _HIDDEN else Secret(value)
        options.pop("header", None)
    elif headers is not None:
        credential, options = Secret(""), {name: text for name, text in options.items() if name != "header"}
        for name, value in headers.items():
            text = (
                get_text(value, "value", f"headerCustomizations.{name}.value") if isinstance(value, Mapping) else None
            )
            if text is None:
                raise Invalid("body.member", f"headerCustomizations.{name[:60]} has to be an object with a value")
            credential = None if text == _HIDDEN else Secret(text)
            options["header"] = name
    return credential, options


def changed_export(base: DataExport, body: Mapping[str, Any], is_cloud: IsCloud) -> DataExport:
    """`base` with what the body says; of properties `filter` says more than `filters` beside it.

    Raises `Invalid` (`body.*`, `query.*`, `export.*`).
    """
    check_same(body, "id", base.export_id)
    source = get_text(body, "source")
    if source is not None and source not in SOURCES:
        raise Invalid("body.member", f"source is {source[:40]!r}; served are {', '.join(SOURCES)}")
    template, filters, of_messages, matches = base.template, base.property_filters, base.filters, base.matches
    if body.get("filters") is not None:
        filters, of_messages = _parse_filters(body["filters"])
    text = get_text(body, "filter")
    if text is not None:
        template, filters = _parse_filter(text, is_cloud)
    if body.get("template") is not None:
        template = get_text(body, "template") or ""
    if body.get("matches") is not None:
        matches = _parse_matches(body)
    enrichments, uses = get_object(body, "enrichments"), body.get("destinations")
    organization = parse_organizations(body)
    return DataExport(
        hub=base.hub,
        export_id=base.export_id,
        display_name=get_text(body, "displayName") or base.display_name,
        source=base.source if source is None else source,
        created=base.created,
        switched=base.switched,
        destinations=base.destinations if uses is None else _parse_uses(uses),
        template=template,
        filters=of_messages,
        property_filters=filters,
        matches=matches,
        enrichments=base.enrichments
        if enrichments is None
        else tuple(_parse_enrichment(key, value, template, is_cloud) for key, value in enrichments.items()),
        is_enabled=get_boolean(body, "enabled", "enabled", default=base.is_enabled),
        organization=base.organization if organization is None else organization,
        version=base.version,
    )


def _parse_filter(text: str, is_cloud: IsCloud) -> tuple[str, tuple[PropertyFilter, ...]]:
    """As a device group's query. Raises `Invalid` (`query.*`, `body.member`)."""
    if not text:
        return "", ()
    query = parse_group_query(text)
    rows = query.rows
    if rows is None or any(row.path.startswith("$") for row in rows):
        raise Invalid(
            "body.member",
            "filter names one template, and compares properties with constants, joined by AND: "
            'SELECT * FROM devices WHERE $template = "dtmi:..." AND name = "value"',
        )
    return query.template, tuple(
        PropertyFilter(row.path, _OPERATORS[row.operator], row.value, is_cloud(query.template, row.path))
        for row in rows
    )


def _parse_matches(body: Mapping[str, Any]) -> Literal["all", "any"]:
    match get_text(body, "matches"):
        case "all" | "any" as said:
            return said
    raise Invalid("body.member", "matches is neither all nor any")


def _parse_filters(given: Any) -> tuple[tuple[PropertyFilter, ...], tuple[MessageFilter, ...]]:
    """Raises `Invalid` (`body.member`)."""
    properties, messages = list[PropertyFilter](), list[MessageFilter]()
    if not isinstance(given, list):
        raise Invalid("body.member", "filters has to be an array")
    for number, each in enumerate(given):
        path = f"filters[{number}]"
        if not isinstance(each, Mapping) or any(name not in _FILTER_MEMBERS for name in each):
            raise Invalid(
                "body.member", f"{path} has to be an object with {', '.join(_FILTER_MEMBERS)} and nothing else"
            )
        name = get_text(each, "name", f"{path}.name") or ""
        operator = _NAMED.get(get_text(each, "operator", f"{path}.operator") or "")
        value = each.get("value", "")
        if operator is None or not isinstance(value, str | int | float):
            raise Invalid(
                "body.member",
                f"{path} has an operator that is one of {', '.join(_NAMED)}, and a text, number or truth value",
            )
        match get_text(each, "of", f"{path}.of"):
            case "property" | "cloudProperty" as of:
                properties.append(PropertyFilter(name, operator, value, of == "cloudProperty"))
            case "capability" | "messageProperty" as kind:
                messages.append(MessageFilter(kind, name, operator, value))
            case _:
                raise Invalid(
                    "body.member", f"{path}.of is one of capability, messageProperty, property and cloudProperty"
                )
    return tuple(properties), tuple(messages)


def _parse_enrichment(key: str, value: Any, template: str, is_cloud: IsCloud) -> Enrichment:
    path = get_text(value, "path", f"enrichments.{key[:60]}.path") if isinstance(value, Mapping) else None
    if path is not None:
        if path.startswith("$"):
            return Enrichment(key, "system", path)
        of_cloud = bool(template) and is_cloud(TemplateId(template), path)
        return Enrichment(key, "cloud_property" if of_cloud else "property", path)
    text = get_text(value, "value", f"enrichments.{key[:60]}.value") if isinstance(value, Mapping) else None
    if text is None:
        raise Invalid("body.member", f"enrichments.{key[:60]} has to be an object with a value, or with a path")
    return Enrichment(key, "constant", text)


def _parse_uses(uses: Any) -> tuple[DestinationUse, ...]:
    if not isinstance(uses, list) or not all(isinstance(each, Mapping) for each in uses):
        raise Invalid("body.member", "destinations has to be an array of objects with an id")
    found: list[DestinationUse] = []
    for number, use in enumerate(uses):
        name = get_text(use, "id", f"destinations[{number}].id")
        if not name:
            raise Invalid("body.member", f"destinations[{number}].id is missing")
        transform = get_text(use, "transform", f"destinations[{number}].transform")
        found.append(DestinationUse(cast("Any", parse_export_id(name)), _parse_transform(transform)))
    return tuple(found)


def _parse_transform(text: str | None) -> Any:
    """Raises `Invalid` (`export.template`)."""
    if not text:
        return None
    if len(text) > _MAX_TRANSFORM:
        raise Invalid("export.template", f"the transform has {len(text)} characters, at most {_MAX_TRANSFORM} are read")
    try:
        return parse_json(text.encode(), what="the transform")
    except Invalid as refusal:
        raise Invalid(
            "export.template",
            "a transform is a JSON template here, in which a text like $.telemetry.temperature stands for a value, and "
            f"not a jq program: {refusal.message}",
        ) from None


# --- writing -----------------------------------------------------------------------------------------------------


def destination_json(destination: Destination, health: Sequence[ExportHealth], *, reveal: bool) -> dict[str, Any]:
    """With `reveal` the whole address; what is shown to the other side is told to nobody."""
    address = destination.address.reveal()
    document: dict[str, Any] = {
        "id": destination.destination_id,
        "displayName": destination.display_name,
        "type": _TYPE_OF[destination.kind],
        "url": address if reveal else _without_path(address),
        "etag": destination.etag,
        "status": _status(health, otherwise="waiting"),
    }
    options = {name: value for name, value in destination.options.items() if name != "header"}
    if options:
        document["options"] = options
    if destination.credential.reveal():
        header = destination.options.get("header")
        if header is None:
            document["authorization"] = {"type": "header", "value": _HIDDEN}
        else:
            document["headerCustomizations"] = {header: {"value": _HIDDEN, "secret": True}}
    return _placed(document, destination.organization)


def export_json(export: DataExport, health: Sequence[ExportHealth]) -> dict[str, Any]:
    """`filter` where it can say what is filtered, else our own members."""
    document: dict[str, Any] = {
        "id": export.export_id,
        "displayName": export.display_name,
        "enabled": export.is_enabled,
        "source": export.source,
        "destinations": [_use_json(use) for use in export.destinations],
        "status": _status(health, otherwise="off"),
        "etag": export.etag,
    }
    if _has_query(export):
        rows = [FilterRow(each.path, _SIGN_OF[each.operator], each.value) for each in export.property_filters]
        document["filter"] = write(export.template, rows)
    elif export.filters or export.property_filters:
        document |= {
            "template": export.template,
            "filters": [
                *(_filter_json(each.kind, each.name, each.operator, each.value) for each in export.filters),
                *(
                    _filter_json("cloudProperty" if each.is_cloud else "property", each.path, each.operator, each.value)
                    for each in export.property_filters
                ),
            ],
            "matches": export.matches,
        }
    if export.enrichments:
        document["enrichments"] = {
            each.key: {"value" if each.kind == "constant" else "path": each.value} for each in export.enrichments
        }
    moments = [each.last_delivery for each in health if each.last_delivery is not None]
    if moments:
        document["lastExportTime"] = format_time(max(moments))
    return _placed(document, export.organization)


def _has_query(export: DataExport) -> bool:
    """Whether a device group's query says all that is filtered."""
    is_joined = export.matches == "all" or len(export.property_filters) < 2
    has_signs = all(each.operator in _SIGN_OF for each in export.property_filters)
    return bool(export.template) and not export.filters and is_joined and has_signs


def _filter_json(of: str, name: str, operator: Operator, value: str | int | float | bool) -> dict[str, Any]:
    document: dict[str, Any] = {"of": of, "name": name, "operator": _NAME_OF[operator]}
    return document if operator == "exists" else {**document, "value": value}


def _use_json(use: DestinationUse) -> dict[str, str]:
    if use.template is None:
        return {"id": use.destination_id}
    return {"id": use.destination_id, "transform": json.dumps(use.template, ensure_ascii=False)}


def _status(health: Sequence[ExportHealth], *, otherwise: Literal["off", "waiting"]) -> str:
    found = {each.status for each in health}
    worst = next((each for each in _WORST if each in found), otherwise)
    return _STATUSES.get(worst, worst)


def _placed(document: dict[str, Any], organization: OrganizationId) -> dict[str, Any]:
    return {**document, "organizations": [organization]} if organization else document


def _without_path(address: str) -> str:
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2].partition('?')[0]}"
