"""What the buttons of pages about people do, as code."""

from __future__ import annotations

from typing import Any

from moorage.accounts.organizations import Organization
from moorage.accounts.roles import RoleDefinition
from moorage.hub_info import HubInfo
from moorage.web.code import Act, Call, act_as_code, central_path

__all__ = ["organization_acts", "organizations_acts", "token_acts", "user_acts"]


def user_acts(info: HubInfo, role: RoleDefinition, organization: str) -> list[Act]:
    """To assign somebody to `role`, and to delete them; with names to put one's own in the place of."""
    there, which = central_path("users", "grace"), ("--user-id", "grace")
    body = {"type": "email", "email": "grace@example.com", "roles": [_assignment(role, organization)]}
    az = ("user", "create", *which, "--email", "grace@example.com", "--role", role.role_id, *_org(organization))
    return [
        act_as_code(info, "Assign user", Call("PUT", there, body, az)),
        act_as_code(info, "Delete", Call("DELETE", there, az=("user", "delete", *which))),
    ]


def organizations_acts(info: HubInfo, parent: str) -> list[Act]:
    """To make an organisation below `parent`, '' for the root."""
    az = ("organization", "create", "--org-id", "line-1", "--org-name", "Line 1")
    body = {"displayName": "Line 1"} | ({"parent": parent} if parent else {})
    call = Call("PUT", central_path("organizations", "line-1"), body, (*az, "--parent-org", parent) if parent else az)
    return [act_as_code(info, "New organization", call)]


def organization_acts(info: HubInfo, node: Organization) -> list[Act]:
    there, which = central_path("organizations", node.organization_id), ("--org-id", node.organization_id)
    body = {"displayName": node.display_name}
    az = ("organization", "update", *which, "--org-name", node.display_name)
    return [
        act_as_code(info, "Save", Call("PATCH", there, body, az)),
        act_as_code(info, "Delete", Call("DELETE", there, az=("organization", "delete", *which))),
    ]


def token_acts(info: HubInfo, role: RoleDefinition, organization: str) -> list[Act]:
    """To make a token of `role`, and to delete it."""
    there, which = central_path("apiTokens", "ci"), ("--token-id", "ci")
    az = ("api-token", "create", *which, "--role", role.role_id, *_org(organization))
    return [
        act_as_code(info, "Generate", Call("PUT", there, {"roles": [_assignment(role, organization)]}, az)),
        act_as_code(info, "Delete", Call("DELETE", there, az=("api-token", "delete", *which))),
    ]


def _assignment(role: RoleDefinition, organization: str) -> dict[str, Any]:
    return {"role": role.role_id} | ({"organization": organization} if organization else {})


def _org(organization: str) -> tuple[str, ...]:
    return ("--org-id", organization) if organization else ()
