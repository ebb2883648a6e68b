"""Users of the application as our own REST shows them."""

from __future__ import annotations

from typing import Any

from moorage.accounts.model import User
from moorage.accounts.roles import RoleDefinition
from moorage.dialects.times import format_time

__all__ = ["user_json"]


def user_json(user: User, role: RoleDefinition | None) -> dict[str, Any]:
    """Without anything that a password could be found by."""
    return {
        "userId": user.user_id,
        "login": user.login,
        "role": user.role if role is None else role.short or role.role_id,
        "roleName": "" if role is None else role.display_name,
        "organization": user.organization,
        "hasPassword": bool(user.password),
        "disabled": user.is_disabled,
        "created": format_time(user.created),
        "signedIn": None if user.signed_in is None else format_time(user.signed_in),
    }
