"""Roles: what whoever has one may do, the built-in ones of contract/central.md USR-3 and USR-4 and those people make.

A role is for the whole application or for organisations (USR-5). Whoever belongs to the root has one of the first kind,
whoever belongs to an organisation one of the second; what reaches beyond organisations, such as certificates and
settings, no role of theirs can hold. Nobody gives away what they may not do themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, Protocol

from moorage.accounts.model import ALL_PERMISSIONS, PERMISSIONS, Actor, OrganizationId, Permission, RoleId
from moorage.errors import Conflict, Forbidden, Invalid
from moorage.ids import HubId

__all__ = [
    "ADMINISTRATOR",
    "BUILT_IN",
    "DEPENDS",
    "FOR_ORGANIZATIONS",
    "MAX_ROLES",
    "RoleDefinition",
    "RoleKind",
    "RoleTable",
    "check_grant",
    "check_reach",
    "check_unused",
    "find_role",
    "known_role",
    "parse_permissions",
    "parse_role_id",
    "parse_role_name",
    "with_dependencies",
]

RoleKind = Literal["application", "organization"]

# contract/central.md LIM-13.
MAX_ROLES: Final = 50
_MAX_NAME: Final = 100
_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,48}")
_SPACES: Final = re.compile(r"\s+")

# USR-7: ticking one takes these with it; who changes a thing sees it.
DEPENDS: Final[Mapping[Permission, frozenset[Permission]]] = MappingProxyType(
    {
        "devices.manage": frozenset({"devices.view"}),
        "devices.delete": frozenset({"devices.manage"}),
        "commands.run": frozenset({"devices.view"}),
        "data.view": frozenset({"devices.view"}),
        "templates.manage": frozenset({"templates.view"}),
        "groups.view": frozenset({"devices.view"}),
        "groups.manage": frozenset({"groups.view"}),
        "dashboards.view": frozenset({"data.view"}),
        "dashboards.manage": frozenset({"dashboards.view"}),
        "jobs.view": frozenset({"groups.view"}),
        "jobs.manage": frozenset({"jobs.view", "devices.manage"}),
        "rules.view": frozenset({"groups.view", "templates.view"}),
        "rules.manage": frozenset({"rules.view"}),
        "exports.manage": frozenset({"exports.view"}),
        "manifests.manage": frozenset({"manifests.view"}),
        "certificates.manage": frozenset({"certificates.view"}),
        "attempts.view": frozenset({"devices.view"}),
        "users.manage": frozenset({"organizations.view"}),
        "tokens.manage": frozenset({"organizations.view"}),
        "organizations.manage": frozenset({"organizations.view"}),
    }
)

# What a role of an organisation may hold: all of it ends where the organisation does.
FOR_ORGANIZATIONS: Final = frozenset[Permission](
    {
        "devices.view",
        "devices.manage",
        "devices.delete",
        "commands.run",
        "data.view",
        "templates.view",
        "groups.view",
        "groups.manage",
        "dashboards.view",
        "dashboards.manage",
        "jobs.view",
        "jobs.manage",
        "users.manage",
        "tokens.manage",
        "organizations.view",
        "organizations.manage",
    }
)


@dataclass(frozen=True, slots=True)
class RoleDefinition:
    """`short` is the word that the command line and the owner's REST know a built-in one by, else ''."""

    role_id: RoleId
    display_name: str
    kind: RoleKind
    permissions: frozenset[Permission]
    short: str = ""
    description: str = ""
    version: int = 1

    @property
    def is_built_in(self) -> bool:
        return self.role_id in BUILT_IN

    @property
    def etag(self) -> str:
        return str(self.version)

    def is_called(self, text: str) -> bool:
        """Whether `find_role` finds it by `text`."""
        return bool(text) and text in (self.role_id, self.short)


ADMINISTRATOR: Final = RoleId("ca310b8d-2f4a-44e0-a36e-957c202cd8d4")
_ORG_VIEWS: Final = frozenset(name for name in FOR_ORGANIZATIONS if name.endswith(".view"))

# The ids of the first three are USR-3's. USR-4 knows one of the next three and not which: it is the administrator's
# here; the other two are our own.
BUILT_IN: Final[Mapping[RoleId, RoleDefinition]] = MappingProxyType(
    {
        role.role_id: role
        for role in (
            RoleDefinition(
                ADMINISTRATOR,
                "Administrator",
                "application",
                PERMISSIONS["administrator"],
                "administrator",
                "Everything, users and settings too.",
            ),
            RoleDefinition(
                RoleId("344138e9-8de4-4497-8c54-5237e96d6aaf"),
                "Builder",
                "application",
                PERMISSIONS["builder"],
                "builder",
                "Everything but users, tokens, organizations and settings.",
            ),
            RoleDefinition(
                RoleId("ae2c9854-393b-4f97-8c42-479d70ce626e"),
                "Operator",
                "application",
                PERMISSIONS["operator"],
                "operator",
                "Looks after devices, and sees the rest.",
            ),
            RoleDefinition(
                RoleId("c495eb57-eb18-489e-9802-62c474e5645c"),
                "Org Administrator",
                "organization",
                FOR_ORGANIZATIONS,
                "org-administrator",
                "Everything in an organization and below it, its users and tokens too.",
            ),
            RoleDefinition(
                RoleId("b3935045-e5a0-4a87-9d5f-5b1c9c6e0d11"),
                "Org Operator",
                "organization",
                _ORG_VIEWS | {"devices.manage", "devices.delete", "commands.run", "jobs.manage"},
                "org-operator",
                "Looks after the devices of an organization.",
            ),
            RoleDefinition(
                RoleId("a6b2e0f4-3c1d-4d59-8f5e-2d7c84c0a923"),
                "Org Viewer",
                "organization",
                _ORG_VIEWS,
                "org-viewer",
                "Sees what belongs to an organization, and changes nothing.",
            ),
        )
    }
)
_BY_SHORT: Final = {role.short: role for role in BUILT_IN.values()}


class RoleTable(Protocol):
    """The roles that people made."""

    def find(self, hub: HubId, role_id: RoleId) -> RoleDefinition | None: ...

    def all(self, hub: HubId) -> list[RoleDefinition]:
        """In the order of their names."""

    def put(self, hub: HubId, role: RoleDefinition) -> None: ...

    def delete(self, hub: HubId, role_id: RoleId) -> None: ...


def find_role(roles: RoleTable, hub: HubId, text: str) -> RoleDefinition:
    """By its id, or by the short word of a built-in one. Raises `Invalid` (`account.role`)."""
    role = _BY_SHORT.get(text) or known_role(roles, hub, RoleId(text[:64]))
    if role is None:
        raise Invalid("account.role", f"{text[:64]!r} is no role; built in are {', '.join(_BY_SHORT)}")
    return role


def known_role(roles: RoleTable, hub: HubId, role_id: RoleId) -> RoleDefinition | None:
    """Of what is stored with a user or a token; None for one that is gone."""
    return BUILT_IN.get(role_id) or roles.find(hub, role_id)


def with_dependencies(permissions: Iterable[Permission]) -> frozenset[Permission]:
    """`permissions` with all that they depend on (USR-7)."""
    found: set[Permission] = set()
    waiting = list(permissions)
    while waiting:
        permission = waiting.pop()
        if permission not in found:
            found.add(permission)
            waiting += DEPENDS.get(permission, ())
    return frozenset(found)


def parse_permissions(names: Iterable[str], kind: RoleKind) -> frozenset[Permission]:
    """What a role of that kind may do, what it depends on included.

    Raises `Invalid`: `role.permission` for a name that is none, or that no role of an organisation can hold;
    `role.empty` for none at all.
    """
    chosen: set[Permission] = set()
    for name in names:
        if name not in ALL_PERMISSIONS:
            raise Invalid("role.permission", f"{name[:64]!r} is no permission")
        chosen.add(name)
    found = with_dependencies(chosen)
    beyond = found - FOR_ORGANIZATIONS if kind == "organization" else frozenset()
    if beyond:
        raise Invalid("role.permission", f"a role of organizations cannot hold {', '.join(sorted(beyond))}")
    if not found:
        raise Invalid("role.empty", "a role has at least one permission")
    return found


def parse_role_id(text: str) -> RoleId:
    """Of a role that somebody makes. Raises `Invalid` (`role.id`)."""
    if not _ID.fullmatch(text) or text in _BY_SHORT:
        raise Invalid(
            "role.id",
            f"{text[:64]!r} is no id of a role: 1 to 48 letters, digits, - and _, and not the word of a built-in one",
        )
    return RoleId(text)


def parse_role_name(text: str) -> str:
    """Raises `Invalid` (`role.name`)."""
    name = _SPACES.sub(" ", text).strip()
    if not name or len(name) > _MAX_NAME or not name.isprintable():
        raise Invalid("role.name", f"a role's name has 1 to {_MAX_NAME} printable characters, this one has {len(name)}")
    return name


def check_grant(actor: Actor, role: RoleDefinition, organization: OrganizationId) -> None:
    """Whether `actor` may give that role in that organisation, or change who has it there.

    Raises:
        Invalid: `account.role_kind`, a role of the application in an organisation, or the other way round.
        Forbidden: `account.beyond`, the role may more than the actor, or the organisation is not the actor's to see.
    """
    if (role.kind == "organization") is not bool(organization):
        where = f"the organization '{organization}'" if organization else "the root"
        fitting = [each.display_name for each in BUILT_IN.values() if each.kind != role.kind]
        raise Invalid(
            "account.role_kind",
            f"the role {role.display_name} is one of {role.kind}s; it is not for {where}",
            fix=f"choose a role that is for it: {', '.join(fitting)}, or one of your own",
        )
    check_reach(actor, role, organization)


def check_reach(actor: Actor, role: RoleDefinition, organization: OrganizationId) -> None:
    """As `check_grant`, for what somebody has already. Raises `Forbidden` (`account.beyond`)."""
    more = role.permissions - actor.permissions
    if more:
        raise Forbidden(
            "account.beyond",
            f"the role {role.display_name} may {', '.join(sorted(more)[:5])}, which {actor.name} may not",
        )
    if not actor.sees(organization):
        raise Forbidden("account.beyond", f"{actor.name} has nothing to say in that organization")


def check_unused(role: RoleDefinition, users: int, tokens: int) -> None:
    """Raises `Conflict` (`role.in_use`)."""
    if users or tokens:
        raise Conflict("role.in_use", f"{users} users and {tokens} API tokens have the role {role.display_name}")
