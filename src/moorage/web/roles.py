"""Roles: the built-in ones, and those that people make by ticking what whoever has one may do (USR-3 to USR-7)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NamedTuple

from starlette.responses import RedirectResponse, Response

from moorage.accounts.model import ALL_PERMISSIONS, Permission, RoleId
from moorage.accounts.roles import FOR_ORGANIZATIONS, RoleDefinition, RoleKind, parse_permissions, with_dependencies
from moorage.errors import Conflict, Forbidden, Invalid, PreconditionFailed, Refusal, TooLarge
from moorage.web.pages import Page, Visit
from moorage.web.people_code import role_acts, roles_acts
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["role_pages"]

_TOLD: Final = (Invalid, Conflict, Forbidden, PreconditionFailed, TooLarge)
# Of the checkboxes of a form: one for each permission.
_MAY: Final = "may:"

# USR-6, in the order of the pane.
_FAMILIES: Final[tuple[tuple[str, tuple[tuple[Permission, str], ...]], ...]] = (
    (
        "Devices",
        (
            ("devices.view", "See devices and their properties"),
            ("devices.manage", "Create, change, approve, block and migrate devices"),
            ("devices.delete", "Delete devices"),
            ("commands.run", "Run commands"),
            ("data.view", "See raw data and explore it"),
        ),
    ),
    ("Device groups", (("groups.view", "See device groups"), ("groups.manage", "Make and change device groups"))),
    (
        "Device templates",
        (("templates.view", "See device templates"), ("templates.manage", "Make, change and publish templates")),
    ),
    ("Edge manifests", (("manifests.view", "See Edge manifests"), ("manifests.manage", "Make and change manifests"))),
    ("Dashboards", (("dashboards.view", "See dashboards"), ("dashboards.manage", "Make and change dashboards"))),
    ("Jobs", (("jobs.view", "See jobs"), ("jobs.manage", "Start, stop and schedule jobs"))),
    ("Rules", (("rules.view", "See rules"), ("rules.manage", "Make, change and switch rules"))),
    ("Data export", (("exports.view", "See exports"), ("exports.manage", "Make, change and switch exports"))),
    (
        "Connectivity",
        (
            ("certificates.view", "See device connection groups and their certificates"),
            ("certificates.manage", "Change device connection groups, certificates and keys"),
            ("attempts.view", "See connection attempts"),
        ),
    ),
    (
        "Permissions",
        (
            ("users.manage", "Manage users and roles"),
            ("tokens.manage", "Manage API tokens"),
            ("organizations.view", "See organizations"),
            ("organizations.manage", "Make, move and delete organizations"),
            ("audit.view", "See the audit log"),
        ),
    ),
    ("Application", (("settings.manage", "Change settings, appearance and file storage"),)),
)


class Tick(NamedTuple):
    """One checkbox. `takes` are those that come with it."""

    permission: Permission
    label: str
    takes: str


def role_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Roles(services, renderer)
    one = "/roles/{role_id}"
    return [
        Page("GET", "/roles", pages.all, "users.manage"),
        Page("GET", "/roles/new", pages.new, "users.manage"),
        Page("POST", "/roles", pages.create, "users.manage", keeps=True),
        Page("GET", one, pages.show, "users.manage"),
        Page("POST", one, pages.save, "users.manage", keeps=True),
        Page("POST", one + "/delete", pages.delete, "users.manage"),
    ]


class _Roles:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._info = services.info
        self._roles = services.roles
        self._renderer = renderer

    async def all(self, visit: Visit) -> Response:
        return self._list(visit)

    async def new(self, visit: Visit) -> Response:
        """A form, filled with a role to copy where one is named."""
        copied = visit.query.get("copy", "")
        if copied:
            role = self._roles.get(RoleId(copied))
            fields = {"name": f"{role.display_name} copy", "description": role.description, "kind": role.kind}
            return self._form(visit, fields | {_MAY + name: "on" for name in role.permissions})
        kind = "organization" if visit.query.get("kind") == "organization" else "application"
        return self._form(visit, {"kind": kind})

    async def create(self, visit: Visit) -> Response:
        fields = await visit.form()
        kind: RoleKind = "organization" if fields.get("kind") == "organization" else "application"
        try:
            visit.check_in_time()
            await self._roles.create(
                visit.actor, fields.get("name", ""), kind, _ticked(fields), fields.get("description", "")
            )
        except _TOLD as refusal:
            if refusal.reason != "role.taken" or not self._is_there(fields, kind):
                return self._form(visit, fields, problem=refusal)
            # The same form, sent twice.
        return RedirectResponse("/roles", HTTPStatus.SEE_OTHER)

    def _is_there(self, fields: dict[str, str], kind: RoleKind) -> bool:
        return any(
            (role.display_name, role.description, role.kind)
            == (fields.get("name", "").strip(), fields.get("description", "").strip(), kind)
            and role.permissions == parse_permissions(_ticked(fields), kind)
            for role in self._roles.all()
        )

    async def show(self, visit: Visit) -> Response:
        role = self._roles.get(_id(visit))
        return self._form(visit, _fields(role), role=role)

    async def save(self, visit: Visit) -> Response:
        fields = await visit.form()
        try:
            visit.check_in_time()
            await self._roles.change(
                visit.actor,
                _id(visit),
                fields.get("name", ""),
                _ticked(fields),
                fields.get("description", ""),
                if_match=fields.get("etag", ""),
            )
        except _TOLD as refusal:
            role = self._roles.get(_id(visit))
            return self._form(visit, fields | {"kind": role.kind}, role=role, problem=refusal)
        return RedirectResponse("/roles", HTTPStatus.SEE_OTHER)

    async def delete(self, visit: Visit) -> Response:
        try:
            await self._roles.delete(visit.actor, _id(visit))
        except (Conflict, Forbidden) as refusal:
            return self._list(visit, refusal)
        return RedirectResponse("/roles", HTTPStatus.SEE_OTHER)

    def _list(self, visit: Visit, problem: Refusal | None = None) -> Response:
        status = HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST
        roles, used = self._roles.all(), self._roles.used()
        # Roles are the application's: whoever belongs to an organisation makes none.
        may_make = visit.actor.organizations is None
        return self._renderer.page(
            visit,
            "people/roles.html",
            status,
            roles=roles,
            used=used,
            may_make=may_make,
            as_code=roles_acts(self._info(), roles) if may_make else [],
            problem=problem,
        )

    def _form(
        self,
        visit: Visit,
        fields: dict[str, str],
        *,
        role: RoleDefinition | None = None,
        problem: Refusal | None = None,
    ) -> Response:
        status = HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST
        kind: RoleKind = "organization" if fields.get("kind") == "organization" else "application"
        is_frozen = (role is not None and role.is_built_in) or visit.actor.organizations is not None
        name, description = fields.get("name", ""), fields.get("description", "")
        return self._renderer.page(
            visit,
            "people/role.html",
            status,
            role=role,
            fields=fields,
            families=_families(kind),
            # What is not the visitor's own, they cannot give.
            own=visit.actor.permissions,
            is_frozen=is_frozen,
            as_code=[] if is_frozen else role_acts(self._info(), role, name, description, kind, _ticked(fields)),
            problem=problem,
        )


def _families(kind: RoleKind) -> list[tuple[str, list[Tick]]]:
    families = [
        (
            label,
            [
                Tick(name, words, " ".join(sorted(with_dependencies([name]) - {name})))
                for name, words in ticks
                if kind == "application" or name in FOR_ORGANIZATIONS
            ],
        )
        for label, ticks in _FAMILIES
    ]
    return [(label, ticks) for label, ticks in families if ticks]


def _fields(role: RoleDefinition) -> dict[str, str]:
    ticks = {_MAY + name: "on" for name in role.permissions}
    return {
        "name": role.display_name,
        "description": role.description,
        "kind": role.kind,
        "etag": role.etag,
        **ticks,
    }


def _ticked(fields: dict[str, str]) -> list[str]:
    return [name for name in ALL_PERMISSIONS if _MAY + name in fields]


def _id(visit: Visit) -> RoleId:
    return RoleId(visit.path["role_id"])
