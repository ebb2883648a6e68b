"""Users, roles, organisations and API tokens of the Central API (contract/central.md 22.2)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import TIME, list_of, members, named, one_of, text

__all__ = [
    "API_TOKEN",
    "API_TOKEN_DRAFT",
    "ORGANIZATION",
    "ORGANIZATION_DRAFT",
    "ROLE",
    "USER",
    "USER_CHANGE",
    "USER_DRAFT",
]

_ROLES: Final = list_of(
    members({"role": text("A role's id.")}, {"organization": text("Where it counts; absent for the root.")}),
    "Exactly one.",
    most=1,
)
API_TOKEN_DRAFT: Final = named("CentralApiTokenDraft", members({"roles": _ROLES}, {"expiry": TIME}))
API_TOKEN: Final = named(
    "CentralApiToken",
    members(
        {"id": text(), "roles": _ROLES, "expiry": TIME},
        {"token": text("What goes into the Authorization header; told once, to whoever made it.")},
    ),
)
_EMAIL: Final = text("How they sign in.", most=255)
USER: Final = named("CentralUser", members({"id": text(), "type": one_of("email"), "roles": _ROLES, "email": _EMAIL}))
USER_DRAFT: Final = named(
    "CentralUserDraft", members({"type": one_of("email"), "roles": _ROLES, "email": _EMAIL}, {"id": text()})
)
USER_CHANGE: Final = named("CentralUserChange", members({}, {"type": one_of("email"), "roles": _ROLES}))
ROLE: Final = named("CentralRole", members({"id": text(), "displayName": text()}))
_PARENT: Final = text("Absent for a child of the root.")
ORGANIZATION: Final = named("CentralOrganization", members({"id": text(), "displayName": text()}, {"parent": _PARENT}))
ORGANIZATION_DRAFT: Final = named(
    "CentralOrganizationDraft", members({}, {"displayName": text("Its id, when absent."), "parent": _PARENT})
)
