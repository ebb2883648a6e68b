"""Users of the application as our own REST shows them."""

from __future__ import annotations

from typing import Any

from moorage.accounts.model import User
from moorage.dialects.times import format_time

__all__ = ["user_json"]


def user_json(user: User) -> dict[str, Any]:
    """Without anything that a password could be found by."""
    return {
        "userId": user.user_id,
        "login": user.login,
        "role": user.role,
        "hasPassword": bool(user.password),
        "disabled": user.is_disabled,
        "created": format_time(user.created),
        "signedIn": None if user.signed_in is None else format_time(user.signed_in),
    }
