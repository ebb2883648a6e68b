"""Roles with what they may do, links of users, organizations that are emptied (contract/central.md 18)."""

from __future__ import annotations

from typing import Final

from moorage.accounts.model import ALL_PERMISSIONS
from moorage.api.schemas.words import TIME, Schema, flag, list_of, members, named, one_of, text, whole
from moorage.dialects.roles_json import ROLE_KINDS

__all__ = ["LINK", "MOVED", "MOVE_DEVICES", "ROLE", "ROLE_DRAFT"]

_ROLE: Final[dict[str, Schema]] = {
    "displayName": text(most=100),
    "permissions": list_of(one_of(*sorted(ALL_PERMISSIONS)), "What these depend on comes with them."),
}
_MORE: Final[dict[str, Schema]] = {
    "description": text(),
    "kind": one_of(*ROLE_KINDS, about="Of the whole application, which is what it is when not given; it stays."),
}
ROLE_DRAFT: Final = named("RoleDraft", members(_ROLE, {**_MORE, "etag": text()}))
ROLE: Final = named(
    "Role",
    members({"id": text(), **_ROLE, **_MORE, "builtIn": flag("Whether it cannot be changed."), "etag": text()}),
)
LINK: Final = named("UserLink", members({"link": text("Works once: whoever opens it is that user."), "expires": TIME}))
MOVE_DEVICES: Final = members({"to": text("The id of an organization; empty for the root.")})
MOVED: Final = members({"devices": whole("How many.")})
