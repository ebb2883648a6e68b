"""Users, roles, organisations and API tokens in the JSON of IoT Central (contract/central.md 22.2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from moorage.accounts.model import OrganizationId, RoleId, User
from moorage.accounts.organizations import Organization
from moorage.accounts.roles import RoleDefinition
from moorage.accounts.token_model import ApiToken
from moorage.dialects.members import get_text
from moorage.dialects.times import format_time, parse_time
from moorage.errors import Invalid

__all__ = [
    "ORGANIZATION_MEMBERS",
    "TOKEN_MEMBERS",
    "USER_MEMBERS",
    "Assignment",
    "check_user_type",
    "organization_json",
    "parse_assignment",
    "parse_expiry",
    "role_json",
    "token_json",
    "user_json",
]

TOKEN_MEMBERS: Final = ("id", "roles", "expiry", "token")
USER_MEMBERS: Final = ("id", "type", "roles", "email", "tenantId", "objectId")
ORGANIZATION_MEMBERS: Final = ("id", "displayName", "parent")
_ASSIGNMENT_MEMBERS: Final = ("role", "organization")


class Assignment(NamedTuple):
    """A role and where it counts; `organization` is '' for the root."""

    role: str
    organization: OrganizationId


def parse_assignment(body: Mapping[str, Any]) -> Assignment | None:
    """The one entry of `roles`; None where the body says nothing of it. Raises `Invalid` (`body.member`)."""
    roles = body.get("roles")
    if roles is None:
        return None
    if not isinstance(roles, list) or len(roles) != 1 or not isinstance(roles[0], Mapping):
        raise Invalid("body.member", "roles has to be an array of one object: somebody has one role, in one place")
    role = get_text(roles[0], "role", "roles[0].role")
    if not role or any(name not in _ASSIGNMENT_MEMBERS for name in roles[0]):
        raise Invalid("body.member", "roles[0] has a role, and perhaps an organization, and nothing else")
    return Assignment(role, OrganizationId(get_text(roles[0], "organization", "roles[0].organization") or ""))


def parse_expiry(body: Mapping[str, Any]) -> datetime | None:
    """Raises `Invalid` (`body.member`, `time.malformed`)."""
    text = get_text(body, "expiry")
    return parse_time(text, what="expiry") if text else None


def check_user_type(body: Mapping[str, Any]) -> None:
    """Raises `Invalid` (`body.member`)."""
    kind = get_text(body, "type")
    if kind != "email":
        raise Invalid(
            "body.member",
            f"type is {str(kind)[:40]!r}; users here are of type email: there is no directory to ask about others",
        )


def token_json(token: ApiToken, text: str | None = None) -> dict[str, Any]:
    """With the token's own text in the answer to whoever made it (TOK-5)."""
    document = {
        "id": token.token_id,
        "roles": _roles_json(token.role, token.organization),
        "expiry": format_time(token.expires),
    }
    return document if text is None else {**document, "token": text}


def user_json(user: User) -> dict[str, Any]:
    return {
        "id": user.user_id,
        "type": "email",
        "roles": _roles_json(user.role, user.organization),
        "email": user.login,
    }


def role_json(role: RoleDefinition) -> dict[str, Any]:
    return {"id": role.role_id, "displayName": role.display_name}


def organization_json(organization: Organization) -> dict[str, Any]:
    """A child of the root has no parent to name."""
    document = {"id": organization.organization_id, "displayName": organization.display_name}
    return {**document, "parent": organization.parent} if organization.parent else document


def _roles_json(role: RoleId, organization: OrganizationId) -> list[dict[str, str]]:
    return [{"role": role, "organization": organization} if organization else {"role": role}]
