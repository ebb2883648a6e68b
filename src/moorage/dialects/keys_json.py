"""New keys for many identities, in JSON (contract/services.md 2.2, "Regenerate keys")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from moorage.dialects.bulk_json import error_json
from moorage.dialects.members import get_text
from moorage.errors import Invalid
from moorage.identities.keys import MAX_REGENERATED, PolicyKey, Regenerated
from moorage.identities.model import BySharedKey
from moorage.ids import IdentityName, parse_device_id, parse_module_id

__all__ = ["parse_regeneration", "regeneration_json"]

_POLICY_KEYS: Final[dict[str, PolicyKey]] = {key.lower(): key for key in get_args(PolicyKey)}


def parse_regeneration(body: Mapping[str, Any]) -> tuple[PolicyKey, list[IdentityName]]:
    """Which key, and of whom. Raises `Invalid`: `key.which`, `key.devices`, `id.*`, `body.member`."""
    text = get_text(body, "policyKey") or ""
    which = _POLICY_KEYS.get(text.lower())
    if which is None:
        raise Invalid("key.which", f"policyKey is {text[:40]!r}, it has to be one of {', '.join(get_args(PolicyKey))}")
    devices = body.get("devices")
    if not isinstance(devices, list) or not 1 <= len(devices) <= MAX_REGENERATED:
        raise Invalid("key.devices", f"devices has to be an array of 1 to {MAX_REGENERATED} objects")
    names = [_name(number, value) for number, value in enumerate(devices)]
    if len(set(names)) < len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise Invalid("bulk.twice", f"'{twice}' is named more than once; a request has one operation for each")
    return which, names


def regeneration_json(which: PolicyKey, results: Sequence[Regenerated]) -> dict[str, Any]:
    """The new keys, and who has none and why."""
    rotated: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for result in results:
        named: dict[str, Any] = {"id": result.name.device_id}
        if result.name.module_id is not None:
            named["moduleId"] = result.name.module_id
        if result.refusal is not None:
            errors.append({**named, **error_json(result.refusal)})
        elif result.identity is not None and isinstance(result.identity.authentication, BySharedKey):
            keys = result.identity.authentication
            rotated.append({**named, "primaryKey": keys.primary.reveal(), "secondaryKey": keys.secondary.reveal()})
    return {"policyKey": which, "rotatedKeys": rotated, "errors": errors}


def _name(number: int, value: Any) -> IdentityName:
    if not isinstance(value, Mapping):
        raise Invalid(
            "key.devices", f"devices[{number}] is a {type(value).__name__}, it has to be an object with an id"
        )
    device_id, module_id = get_text(value, "id", f"devices[{number}].id"), get_text(value, "moduleId")
    if not device_id:
        raise Invalid("body.member", f"devices[{number}].id is missing")
    return IdentityName(parse_device_id(device_id), parse_module_id(module_id) if module_id else None)
