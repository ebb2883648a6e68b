"""Roles with what they may do, in the JSON of our own API (contract/central.md USR-3 to USR-7).

{"displayName": "Plant operator", "kind": "application", "permissions": ["devices.view", "commands.run"]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from moorage.accounts.roles import RoleDefinition, RoleKind
from moorage.dialects.members import check_members, check_same, get_choice, get_text, get_texts, need_text

__all__ = ["ROLE_KINDS", "ROLE_MEMBERS", "RoleBody", "parse_role", "role_json"]

ROLE_MEMBERS: Final = ("id", "displayName", "description", "kind", "permissions", "builtIn", "etag")
ROLE_KINDS: Final[Mapping[str, RoleKind]] = {"application": "application", "organization": "organization"}


class RoleBody(NamedTuple):
    """`kind` is None where the body does not say."""

    display_name: str
    description: str
    kind: RoleKind | None
    permissions: list[str]


def parse_role(role_id: str, body: Mapping[str, Any]) -> RoleBody:
    """Raises `Invalid` (`body.member`, `body.id`); the service says the rest."""
    check_members(body, ROLE_MEMBERS)
    check_same(body, "id", role_id)
    return RoleBody(
        need_text(body, "displayName"),
        get_text(body, "description") or "",
        get_choice(body, "kind", ROLE_KINDS),
        get_texts(body, "permissions"),
    )


def role_json(role: RoleDefinition) -> dict[str, Any]:
    """With all that its permissions depend on."""
    return {
        "id": role.role_id,
        "displayName": role.display_name,
        "description": role.description,
        "kind": role.kind,
        "permissions": sorted(role.permissions),
        "builtIn": role.is_built_in,
        "etag": role.etag,
    }
