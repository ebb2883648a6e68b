"""Who may do what over our own API of the application: every route, every built-in role, and nobody.

`TAKES` is written by hand and not from the gates of the routes: a route whose gate is wrong, or that nobody thought
about here, fails.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from moorage.accounts.model import PERMISSIONS, ROLES, Permission
from moorage.api.application.routing import BASE
from moorage.api.routing import Route
from tests.api.application.world import Own, own_hub

TAKES: Final[Mapping[Permission, tuple[str, ...]]] = {
    "rules.view": ("GET /rules", "GET /rules/{id}", "GET /rules/{id}/events"),
    "rules.manage": (
        *(f"{method} /rules/{{id}}" for method in ("PUT", "PATCH", "DELETE")),
        "POST /rules/try",
        "POST /rules/{id}/try",
        "POST /rules/actions/{action}/test",
        "POST /rules/{id}/actions/{action}/test",
    ),
    "templates.view": (
        "GET /deviceTemplates",
        "GET /deviceTemplates/{id}",
        "GET /deviceTemplates/{id}/views",
        "GET /deviceTemplates/{id}/views/{view}",
    ),
    "templates.manage": (
        "DELETE /deviceTemplates/{id}",
        *(f"{method} /deviceTemplates/{{id}}/draft" for method in ("PUT", "DELETE")),
        *(f"POST /deviceTemplates/{{id}}/{act}" for act in ("publish", "newVersion")),
        *(f"{method} /deviceTemplates/{{id}}/views/{{view}}" for method in ("PUT", "DELETE")),
    ),
    "devices.view": (
        "GET /deviceOperations",
        "GET /deviceOperations/{id}",
        "GET /deviceOperations/{id}/errors",
        "POST /deviceOperations/{id}/stop",
    ),
    "devices.manage": (
        *(f"POST /devices/{{id}}/{act}" for act in ("approve", "block", "unblock")),
        *(f"{method} /devices/{{id}}/aliases/{{alias}}" for method in ("PUT", "DELETE")),
        "DELETE /devices/{id}/files",
        "DELETE /devices/{id}/manifest",
        "POST /deviceOperations",
        "POST /devices/import",
        "GET /devices/export",
    ),
    "commands.run": ("POST /devices/{id}/queuedCommands",),
    "certificates.view": (
        "GET /settings/autoApprove",
        "POST /certificates/rehearsal",
        "POST /certificates/chains",
        "GET /certificates/rolls",
        "GET /certificates/rolls/{id}",
        "GET /certificates/caRolls/{name}",
    ),
    "certificates.manage": (
        "PUT /settings/autoApprove",
        "POST /certificates/rolls",
        "POST /certificates/rolls/{id}/undo",
        "POST /certificates/caRolls/{name}/undo",
    ),
    "data.view": (
        "GET /devices/{id}/aliases",
        "GET /devices/{id}/files",
        "GET /queries",
        "POST /queries/answer",
        *(f"{method} /queries/{{id}}" for method in ("GET", "PUT", "DELETE")),
    ),
    "exports.manage": (
        *(f"POST /dataExport/destinations{each}/test" for each in ("", "/{id}")),
        *(f"POST /dataExport/exports{each}/sample" for each in ("", "/{id}")),
    ),
    "users.manage": (
        "GET /roles",
        *(f"{method} /roles/{{id}}" for method in ("GET", "PUT", "DELETE")),
        "GET /users/{id}",
        *(f"POST /users/{{id}}/{act}" for act in ("link", "disable", "enable")),
    ),
    "organizations.manage": ("DELETE /organizations/{id}", "POST /organizations/{id}/moveDevices"),
    "audit.view": ("GET /audit",),
    "dashboards.view": ("POST /dashboardPictures", "GET /dashboardPictures/{id}"),
    "settings.manage": (
        *(f"{method} /settings" for method in ("GET", "PATCH")),
        *(f"{method} /settings/customization" for method in ("GET", "PATCH")),
        *(f"{method} /settings/customization/{{picture}}" for method in ("GET", "PUT", "DELETE")),
    ),
}
_PARAMETERS: Final = re.compile(r"{(\w+)}")
_VALUES: Final = {"picture": "logo"}


def _named(route: Route) -> str:
    return f"{route.method} {route.pattern.removeprefix(BASE)}"


async def test_every_route_takes_its_permission_and_no_other(tmp_path: Path) -> None:
    async with own_hub(tmp_path) as own:
        routes = [route for route in own.application.own.routes if route.gate != "public"]
        wanted = {name: permission for permission, names in TAKES.items() for name in names}
        assert {_named(route) for route in routes} == wanted.keys()
        tokens = {role: await own.token(role) for role in ROLES}
        wrong = []
        for route in routes:
            permission = wanted[_named(route)]
            if await _status(own, route, "SharedAccessSignature sr=x&sig=x&skn=x&se=9999999999") != 401:
                wrong.append((_named(route), "a stranger"))
            if await _status(own, route, "") != 401:
                wrong.append((_named(route), "nobody"))
            for role in ROLES:
                is_let_in = await _status(own, route, tokens[role]) != 403
                if is_let_in != (permission in PERMISSIONS[role]):
                    wrong.append((_named(route), role))
        assert not wrong


async def _status(own: Own, route: Route, who: str) -> int:
    target = _PARAMETERS.sub(lambda match: _VALUES.get(match[1], "nothing-of-this-name"), route.pattern)
    answer = await own.hub.ask(route.method, target, b"{}", credential=who or None)
    assert answer.status < 500, (_named(route), answer.body)
    return answer.status
