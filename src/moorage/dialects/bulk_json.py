"""Many identities at once in JSON: the items of a bulk request, the lines of an import and an export, and what became
of them (contract/services.md 2.6).

One item is one object, the same in `POST /devices` and as a line of `devices.txt`. Names of members are taken without
case, as the service does: Node sends the `etag` that it read where the service says `eTag`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from moorage.dialects.hub_json import authentication_json, parse_identity, scope_json, section_json
from moorage.dialects.json_text import encode_json, parse_object
from moorage.dialects.members import get_object, get_text
from moorage.dialects.refusals import wire_error
from moorage.errors import Invalid, Refusal
from moorage.hub.bulk import BulkItem, ImportMode, Outcome
from moorage.hub.model import Twin
from moorage.hub.twins import twin_etag
from moorage.identities.model import BySharedKey, Identity
from moorage.identities.registry import IdentityDraft
from moorage.ids import ETag, IdentityName, parse_device_id, parse_etag, parse_module_id, version_etag

__all__ = ["DEFAULT_MODE", "bulk_result_json", "encode_line", "error_json", "item_json", "parse_item", "parse_line"]

# What the service does with a line that does not say.
DEFAULT_MODE: Final[ImportMode] = "createOrUpdate"

_MODES: Final[dict[str, ImportMode]] = {mode.lower(): mode for mode in get_args(ImportMode)}
_MEMBERS: Final = (
    "id",
    "moduleId",
    "importMode",
    "eTag",
    "twinETag",
    "status",
    "statusReason",
    "authentication",
    "capabilities",
    "deviceScope",
    "parentScopes",
    "managedBy",
    "tags",
    "properties",
)
_SPELLED: Final = {member.lower(): member for member in _MEMBERS}
_NOTHING: Final[Mapping[str, Any]] = {}


def parse_item(value: Any, default: ImportMode = DEFAULT_MODE) -> BulkItem:
    """One item. What its mode has no use for is not looked at.

    Raises `Invalid`: `bulk.mode`, `id.*`, and as `parse_identity`.
    """
    if not isinstance(value, Mapping):
        raise Invalid("json.not_object", f"an item is a {type(value).__name__}, it has to be a JSON object")
    body = _spelled(value)
    name = _name(body)
    mode = _mode(body, default)
    if mode.startswith("delete"):
        return BulkItem(mode, IdentityDraft(name), etag=_etag(body, "eTag", mode))
    tags = get_object(body, "tags")
    properties = get_object(body, "properties") or _NOTHING
    desired = get_object(properties, "desired", "properties.desired")
    if mode.startswith("updateTwin"):
        return BulkItem(mode, IdentityDraft(name), twin_etag=_etag(body, "twinETag", mode), tags=tags, desired=desired)
    return BulkItem(
        mode,
        parse_identity(name, body),
        etag=_etag(body, "eTag", mode),
        tags=tags,
        desired=desired,
        reported=get_object(properties, "reported", "properties.reported"),
    )


def parse_line(line: bytes) -> BulkItem:
    """A line of an import. Raises as `parse_item`, and `Invalid` (`json.*`)."""
    return parse_item(parse_object(line, what="the line"))


def item_json(identity: Identity, twin: Twin | None, *, with_keys: bool) -> dict[str, Any]:
    """An identity as an export has it, such that an import makes it again."""
    authentication = authentication_json(identity.authentication)
    if not with_keys and isinstance(identity.authentication, BySharedKey):
        authentication["symmetricKey"] = {"primaryKey": None, "secondaryKey": None}
    item: dict[str, Any] = {"id": identity.name.device_id}
    if identity.name.module_id is not None:
        item |= {"moduleId": identity.name.module_id, "managedBy": identity.managed_by}
    item |= {
        "eTag": version_etag(identity.version),
        "status": identity.status,
        "statusReason": identity.status_reason,
        "authentication": authentication,
    }
    if identity.name.module_id is None:
        item["capabilities"] = {"iotEdge": identity.is_edge}
        item |= scope_json(identity)
    if twin is not None:
        item |= {
            "twinETag": twin_etag(twin),
            "tags": twin.tags,
            "properties": {"desired": section_json(twin.desired), "reported": section_json(twin.reported)},
        }
    return item


def bulk_result_json(items: Sequence[Any], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The answer to a bulk request: `items` as they came, and what became of each."""
    errors = [
        {**_names(value), **error_json(outcome.refusal), "item": number}
        for number, (value, outcome) in enumerate(zip(items, outcomes, strict=True))
        if outcome.refusal is not None
    ]
    return {"isSuccessful": not errors, "errors": errors, "warnings": []}


def error_json(refusal: Refusal) -> dict[str, Any]:
    """Why an item was refused. `errorNumber`, `reason` and `fix` are ours; clients ignore what they do not know."""
    error = wire_error(refusal)
    told: dict[str, Any] = {
        "errorCode": error.name,
        "errorStatus": f"{refusal.message}. {refusal.fix}" if refusal.fix else refusal.message,
        "errorNumber": error.code,
        "reason": refusal.reason,
    }
    return {**told, "fix": refusal.fix} if refusal.fix else told


def encode_line(identity: Identity, twin: Twin | None, *, with_keys: bool) -> bytes:
    """A line of an export."""
    return encode_json(item_json(identity, twin, with_keys=with_keys)) + b"\n"


def _spelled(value: Mapping[str, Any]) -> dict[str, Any]:
    return {_SPELLED.get(member.lower(), member): content for member, content in value.items()}


def _names(value: Any) -> dict[str, Any]:
    """How an item calls itself, as far as it does."""
    if not isinstance(value, Mapping):
        return {"deviceId": "", "operation": ""}
    body = _spelled(value)
    named: dict[str, Any] = {"deviceId": _shown(body.get("id"))}
    if body.get("moduleId") is not None:
        named["moduleId"] = _shown(body["moduleId"])
    mode = _shown(body.get("importMode") or DEFAULT_MODE)
    return {**named, "operation": _MODES.get(mode.lower(), mode)}


def _shown(value: Any) -> str:
    return value[:128] if isinstance(value, str) else ""


def _name(body: Mapping[str, Any]) -> IdentityName:
    device_id, module_id = get_text(body, "id"), get_text(body, "moduleId")
    if not device_id:
        raise Invalid("body.member", "id is missing")
    return IdentityName(parse_device_id(device_id), parse_module_id(module_id) if module_id else None)


def _mode(body: Mapping[str, Any], default: ImportMode) -> ImportMode:
    text = get_text(body, "importMode")
    if not text:
        return default
    mode = _MODES.get(text.lower())
    if mode is None:
        raise Invalid(
            "bulk.mode", f"importMode is {text[:40]!r}, it has to be one of {', '.join(get_args(ImportMode))}"
        )
    return mode


def _etag(body: Mapping[str, Any], member: str, mode: ImportMode) -> ETag | None:
    if not mode.endswith("IfMatchETag"):
        return None
    text = get_text(body, member)
    if not text:
        raise Invalid("body.member", f"{member} is missing, which {mode} compares; '*' fits any")
    return parse_etag(text)
