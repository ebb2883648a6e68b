"""What the buttons of pages about people do, as code.

Where nothing has a name yet stands one to put one's own in the place of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from moorage.accounts.organizations import Organization
from moorage.accounts.roles import RoleDefinition, RoleKind
from moorage.hub_info import HubInfo
from moorage.web.code import Act, Call, act_as_code, central_path

__all__ = ["organization_acts", "organizations_acts", "role_acts", "roles_acts", "token_acts", "user_acts"]

_USER: Final = "grace"
_ROLE: Final = "plant-operator"


def user_acts(info: HubInfo, roles: Sequence[RoleDefinition], organization: str, login: str = "") -> list[Act]:
    """To assign somebody to the last of `roles` and to change that to the one before; '' is the root."""
    if not roles:
        return []
    there, which, email = central_path("users", _USER), ("--user-id", _USER), login or f"{_USER}@example.com"
    first, then = roles[-1], roles[-2:][0]
    body = {"type": "email", "email": email, "roles": [_assignment(first, organization)]}
    az = ("user", "create", *which, "--email", email, "--role", first.role_id, *_org(organization))
    change = {"type": "email", "email": email, "roles": [_assignment(then, organization)]}
    # az takes an organisation before two backslashes.
    named = f"{organization}\\\\{then.role_id}" if organization else then.role_id
    az_change = ("user", "update", *which, "--email", email, "--roles", named)

    def own(label: str, act: str) -> Act:
        return act_as_code(info, label, Call("POST", central_path("users", _USER, act), api="own"))

    return [
        act_as_code(info, "Assign user", Call("PUT", there, body, az)),
        own("New link", "link"),
        act_as_code(info, "Change", Call("PATCH", there, change, az_change)),
        own("Disable", "disable"),
        own("Enable", "enable"),
        act_as_code(info, "Delete", Call("DELETE", there, az=("user", "delete", *which))),
    ]


def roles_acts(info: HubInfo, roles: Sequence[RoleDefinition]) -> list[Act]:
    """To delete the first that people made."""
    made = next((role for role in roles if not role.is_built_in), None)
    return [] if made is None else [_deleting(info, made.role_id)]


def role_acts(
    info: HubInfo,
    role: RoleDefinition | None,
    name: str,
    description: str,
    kind: RoleKind,
    permissions: Sequence[str],
) -> list[Act]:
    """To save one, and to delete it; `role` is None for a new one."""
    body: dict[str, Any] = {
        "displayName": name or "Plant operator",
        "kind": kind,
        "permissions": list(permissions) or ["devices.view"],
    }
    if description:
        body["description"] = description
    role_id = _ROLE if role is None else role.role_id
    save = act_as_code(info, "Save", Call("PUT", central_path("roles", role_id), body, api="own"))
    return [save] if role is None else [save, _deleting(info, role_id)]


def _deleting(info: HubInfo, role_id: str) -> Act:
    return act_as_code(info, "Delete", Call("DELETE", central_path("roles", role_id), api="own"))


def organizations_acts(info: HubInfo, fields: Mapping[str, str], parent: str) -> list[Act]:
    """To make one below `parent`, '' for the root."""
    organization_id, name = fields.get("id") or "line-1", fields.get("name") or "Line 1"
    body, az = _placed(name, fields.get("parent") or parent)
    az = ("organization", "create", "--org-id", organization_id, *az)
    return [
        act_as_code(info, "New organization", Call("PUT", central_path("organizations", organization_id), body, az))
    ]


def organization_acts(
    info: HubInfo, node: Organization, name: str, parent: str, others: Sequence[Organization], *, has_devices: bool
) -> list[Act]:
    """`others` are those that what it holds can go to."""
    there, which = central_path("organizations", node.organization_id), ("--org-id", node.organization_id)
    body, az = _placed(name, parent)
    if node.parent and not parent:
        # az has no word for the root.
        save = Call("PATCH", there, body | {"parent": ""})
    else:
        save = Call("PATCH", there, body, ("organization", "update", *which, *az))
    to = others[0].organization_id if others else ""
    acts = [act_as_code(info, "Save", save)]
    if has_devices:
        acts.append(act_as_code(info, "Move devices", Call("POST", f"{there}/moveDevices", {"to": to}, api="own")))
    moving = Call("DELETE", there, api="own", query={"moveTo": to})
    return [
        *acts,
        act_as_code(info, "Delete", Call("DELETE", there, az=("organization", "delete", *which))),
        act_as_code(info, "Delete, and move what it holds", moving),
    ]


def token_acts(info: HubInfo, role: RoleDefinition, organization: str, token_id: str = "") -> list[Act]:
    """To make a token of `role`, and to delete it."""
    token_id = token_id or "ci"
    there, which = central_path("apiTokens", token_id), ("--token-id", token_id)
    az = ("api-token", "create", *which, "--role", role.role_id, *_org(organization))
    return [
        act_as_code(info, "Generate", Call("PUT", there, {"roles": [_assignment(role, organization)]}, az)),
        act_as_code(info, "Delete", Call("DELETE", there, az=("api-token", "delete", *which))),
    ]


def _placed(name: str, parent: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(body, words of az) of an organisation."""
    if not parent:
        return {"displayName": name}, ("--org-name", name)
    return {"displayName": name, "parent": parent}, ("--org-name", name, "--parent-id", parent)


def _assignment(role: RoleDefinition, organization: str) -> dict[str, Any]:
    return {"role": role.role_id} | ({"organization": organization} if organization else {})


def _org(organization: str) -> tuple[str, ...]:
    return ("--org-id", organization) if organization else ()
