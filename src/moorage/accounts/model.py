"""Users of the application, their sessions in browsers, and the links that let somebody in once.

Nothing that opens a door is stored: of a session and of a link only the SHA-256 is kept, of a password what argon2id
makes of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NewType, Protocol, get_args

from moorage.errors import Invalid
from moorage.ids import HubId

__all__ = [
    "ALL_PERMISSIONS",
    "INVITATION_LIFETIME",
    "LINK_LIFETIME",
    "OWNER",
    "PERMISSIONS",
    "ROLES",
    "Actor",
    "Link",
    "Login",
    "Maker",
    "OrganizationId",
    "Permission",
    "Role",
    "RoleId",
    "Session",
    "User",
    "UserId",
    "UserTable",
    "lasting_key",
    "parse_login",
]

UserId = NewType("UserId", str)
# An e-mail address or a plain name; what a person types to sign in.
Login = NewType("Login", str)
# A node of the tree of tenants; the root, which has no row, is "" (contract/central.md ORG-1).
OrganizationId = NewType("OrganizationId", str)

# Of a role, built in or not: a UUID (contract/central.md USR-3).
RoleId = NewType("RoleId", str)

# The short words of the built-in roles of the application; `roles.BUILT_IN` has their ids.
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
# Of an invitation: somebody has to read it first.
INVITATION_LIFETIME: Final = timedelta(days=3)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOGIN = re.compile(r"[^\s@<>\"'`\\/|%]{1,64}(@[^\s@<>\"'`\\/|%]{1,190})?")


def parse_login(text: str) -> Login:
    """A name or an e-mail address, compared without case. Raises `Invalid` (`account.login`)."""
    login = text.strip().casefold()
    if not _LOGIN.fullmatch(login) or not login.isprintable():
        raise Invalid("account.login", f"{text[:80]!r} is neither a name nor an e-mail address")
    return Login(login)


def lasting_key(kind: Literal["user", "token"], name: str, created: datetime) -> str:
    """What stands for somebody in what outlasts them: their names and ids may be given to another, this is not."""
    return f"{kind}:{name}:{(created - _EPOCH) // timedelta(microseconds=1)}"


@dataclass(frozen=True, slots=True)
class Maker:
    """For whom something goes on that lasts longer than a request: `key` is the actor's, `name` is for people."""

    key: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever does something to the application: a user in a browser, an API token, the owner of the hub.

    Attributes:
        name: for the audit log: `user:ada`, `token:ci`, `owner`.
        organization: where it belongs, and where what it makes belongs.
        organizations: those it sees: its own and all below; None for the root, which sees everything.
        role: the name of its role, for people; '' for an owner.
        key: what is theirs in the store is bound to it (`lasting_key`); their name where that is nobody else's ever.
    """

    name: str
    permissions: frozenset[Permission]
    organization: OrganizationId = OrganizationId("")
    organizations: frozenset[OrganizationId] | None = None
    role: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", self.name)

    @property
    def maker(self) -> Maker:
        return Maker(self.key, self.name)

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    def sees(self, organization: OrganizationId) -> bool:
        return self.organizations is None or organization in self.organizations


# Whoever holds the hub's owner key, at the command line or over REST.
OWNER: Final = Actor("owner", frozenset(ALL_PERMISSIONS))


@dataclass(frozen=True, slots=True)
class User:
    """One person.

    Attributes:
        password: the argon2id encoding, '' until the person has chosen one.
        organization: the node to which they belong and below which they see; '' is the root (ORG-2).
        subject: `issuer subject` of whoever comes through an OpenID Connect provider, else ''.
    """

    hub: HubId
    user_id: UserId
    login: Login
    role: RoleId
    password: str
    created: datetime
    signed_in: datetime | None = None
    is_disabled: bool = False
    organization: OrganizationId = OrganizationId("")
    subject: str = ""

    @property
    def key(self) -> str:
        return lasting_key("user", self.user_id, self.created)


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

    def find_subject(self, hub: HubId, subject: str) -> User | None:
        """Whoever comes through a provider under that name."""

    def all(self, hub: HubId) -> list[User]:
        """In the order of their logins."""

    def put(self, user: User) -> None: ...

    def delete(self, hub: HubId, user_id: UserId) -> None:
        """With their sessions, their links, and what was theirs alone."""

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
