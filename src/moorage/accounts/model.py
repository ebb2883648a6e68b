"""Users of the application, their sessions in browsers, and the links that let somebody in once.

Nothing that opens a door is stored: of a session and of a link only the SHA-256 is kept, of a password what argon2id
makes of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, NewType, Protocol, get_args

from moorage.errors import Invalid
from moorage.events import Outbox
from moorage.ids import HubId

__all__ = [
    "ALL_PERMISSIONS",
    "LINK_LIFETIME",
    "PERMISSIONS",
    "ROLES",
    "AccountTables",
    "Actor",
    "Link",
    "Login",
    "OrganizationId",
    "Permission",
    "Role",
    "Session",
    "User",
    "UserId",
    "UserTable",
    "parse_login",
    "parse_role",
]

UserId = NewType("UserId", str)
# An e-mail address or a plain name; what a person types to sign in.
Login = NewType("Login", str)
# A node of the tree of tenants; the root, which has no row, is "" (contract/central.md ORG-1).
OrganizationId = NewType("OrganizationId", str)

Role = Literal["administrator", "builder", "operator"]
ROLES: Final[tuple[Role, ...]] = ("administrator", "builder", "operator")

# contract/central.md USR-6.
Permission = Literal[
    "devices.view",
    "devices.manage",
    "devices.delete",
    "commands.run",
    "data.view",
    "templates.view",
    "templates.manage",
    "groups.view",
    "groups.manage",
    "dashboards.view",
    "dashboards.manage",
    "jobs.view",
    "jobs.manage",
    "rules.view",
    "rules.manage",
    "exports.view",
    "exports.manage",
    "manifests.view",
    "manifests.manage",
    "certificates.view",
    "certificates.manage",
    "attempts.view",
    "audit.view",
    "users.manage",
    "tokens.manage",
    "organizations.view",
    "organizations.manage",
    "settings.manage",
]
ALL_PERMISSIONS: Final[tuple[Permission, ...]] = get_args(Permission)
_VIEWS: Final = frozenset(name for name in ALL_PERMISSIONS if name.endswith(".view")) - {"audit.view"}
_OPERATES: Final[frozenset[Permission]] = frozenset(
    {*_VIEWS, "devices.manage", "devices.delete", "commands.run", "jobs.manage"}
)
_BUILDS: Final[frozenset[Permission]] = frozenset(
    {
        *_OPERATES,
        "templates.manage",
        "groups.manage",
        "dashboards.manage",
        "rules.manage",
        "exports.manage",
        "manifests.manage",
        "certificates.manage",
    }
)
PERMISSIONS: Final[dict[Role, frozenset[Permission]]] = {
    "administrator": frozenset(ALL_PERMISSIONS),
    "builder": _BUILDS,
    "operator": _OPERATES,
}

# How long a link is good that was made to be used at once.
LINK_LIFETIME: Final = timedelta(minutes=15)

_LOGIN = re.compile(r"[^\s@<>\"'`\\/|%]{1,64}(@[^\s@<>\"'`\\/|%]{1,190})?")


def parse_login(text: str) -> Login:
    """A name or an e-mail address, compared without case. Raises `Invalid` (`account.login`)."""
    login = text.strip().casefold()
    if not _LOGIN.fullmatch(login) or not login.isprintable():
        raise Invalid("account.login", f"{text[:80]!r} is neither a name nor an e-mail address")
    return Login(login)


def parse_role(text: str) -> Role:
    """Raises `Invalid` (`account.role`)."""
    for role in ROLES:
        if text == role:
            return role
    raise Invalid("account.role", f"{text[:40]!r} is no role; there are {', '.join(ROLES)}")


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever does something to the application: a user in a browser, an API token, the owner of the hub.

    Attributes:
        name: for the audit log: `user:ada`, `token:ci`, `owner`.
        organization: where it belongs, and where what it makes belongs.
        organizations: those it sees: its own and all below; None for the root, which sees everything.
    """

    name: str
    permissions: frozenset[Permission]
    organization: OrganizationId = OrganizationId("")
    organizations: frozenset[OrganizationId] | None = None

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    def sees(self, organization: OrganizationId) -> bool:
        return self.organizations is None or organization in self.organizations


@dataclass(frozen=True, slots=True)
class User:
    """`password` is the argon2id encoding, '' until the person has chosen one."""

    hub: HubId
    user_id: UserId
    login: Login
    role: Role
    password: str
    created: datetime
    signed_in: datetime | None = None
    is_disabled: bool = False

    def may(self, permission: Permission) -> bool:
        return permission in PERMISSIONS[self.role]


@dataclass(frozen=True, slots=True)
class Session:
    """One browser. `digest` is the SHA-256 of its cookie, in hexadecimal."""

    hub: HubId
    digest: str
    user_id: UserId
    created: datetime
    seen: datetime
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class Link:
    """Lets somebody choose a password, once. `user_id` is '' for whoever comes first: an administrator."""

    hub: HubId
    digest: str
    user_id: UserId
    expires: datetime


class UserTable(Protocol):
    """Users by id and by login, their sessions and links by digest."""

    def find(self, hub: HubId, user_id: UserId) -> User | None: ...

    def find_login(self, hub: HubId, login: Login) -> User | None: ...

    def all(self, hub: HubId) -> list[User]:
        """In the order of their logins."""

    def put(self, user: User) -> None: ...

    def delete(self, hub: HubId, user_id: UserId) -> None:
        """With their sessions and links."""

    def find_session(self, hub: HubId, digest: str) -> Session | None: ...

    def sessions_of(self, hub: HubId, user_id: UserId) -> list[Session]:
        """The newest first."""

    def put_session(self, session: Session) -> None: ...

    def delete_session(self, hub: HubId, digest: str) -> None: ...

    def delete_sessions_of(self, hub: HubId, user_id: UserId, *, but: str = "") -> None: ...

    def find_link(self, hub: HubId, digest: str) -> Link | None: ...

    def put_link(self, link: Link) -> None: ...

    def delete_link(self, hub: HubId, digest: str) -> None: ...

    def delete_links_of(self, hub: HubId, user_id: UserId) -> None: ...

    def forget(self, hub: HubId, *, sessions_seen_before: datetime, links_ended_before: datetime) -> None:
        """Drop what nobody can use any more."""


class AccountTables(Protocol):
    @property
    def users(self) -> UserTable: ...

    @property
    def outbox(self) -> Outbox: ...
