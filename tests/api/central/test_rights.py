"""Who may do what over the Central API: every route, every built-in role, and nobody.

`TAKES` is written by hand and not from the gates of the routes: a route whose gate is wrong, or that nobody thought
about here, fails. Whoever is let in hears 2xx, 400, 404 or the like of a request that means nothing; whoever is not
hears 403, and a stranger 401.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from moorage.accounts.model import PERMISSIONS, ROLES, Permission
from moorage.api.routing import Route
from tests.api.central.world import Central, central_hub

_GROUP: Final = "/enrollmentGroups/{id}"
_SLOT: Final = _GROUP + "/certificates/{entry}"

# The device itself, a component, a module, a component of a module.
_PARTS: Final = tuple(
    f"/devices/{{id}}{module}{component}"
    for module in ("", "/modules/{module}")
    for component in ("", "/components/{component}")
)

_EXPORTS: Final = ("destinations", "destinations/{id}", "exports", "exports/{id}")

TAKES: Final[Mapping[Permission, tuple[str, ...]]] = {
    "certificates.view": ("GET /enrollmentGroups", f"GET {_GROUP}", f"GET {_SLOT}"),
    "certificates.manage": (
        *(f"{method} {_GROUP}" for method in ("PUT", "PATCH", "DELETE")),
        *(f"{method} {_SLOT}" for method in ("PUT", "DELETE")),
        f"POST {_SLOT}/generateVerificationCode",
        f"POST {_SLOT}/verify",
    ),
    "devices.view": (
        "GET /devices",
        "GET /devices/{id}",
        "GET /devices/{id}/attestation",
        "GET /devices/{id}/components",
        "GET /devices/{id}/modules",
        "GET /devices/{id}/modules/{module}/components",
        "GET /devices/{id}/relationships",
        "GET /devices/{id}/relationships/{relationship}",
        *(
            f"GET {part}/{what}"
            for part in _PARTS
            for what in ("properties", "telemetry/{telemetry}", "commands/{command}")
        ),
    ),
    "commands.run": tuple(f"POST {part}/commands/{{command}}" for part in _PARTS),
    "devices.manage": (
        *(f"{method} {part}/properties" for part in _PARTS for method in ("PUT", "PATCH")),
        *(f"{method} /devices/{{id}}" for method in ("PUT", "PATCH")),
        *(f"{method} /devices/{{id}}/attestation" for method in ("PUT", "PATCH", "DELETE")),
        "GET /devices/{id}/credentials",
        *(f"{method} /devices/{{id}}/relationships/{{relationship}}" for method in ("PUT", "PATCH", "DELETE")),
        "POST /devices/{id}/applyDeploymentManifest",
    ),
    "devices.delete": ("DELETE /devices/{id}",),
    "templates.view": ("GET /deviceTemplates", "GET /deviceTemplates/{id}"),
    "templates.manage": tuple(f"{method} /deviceTemplates/{{id}}" for method in ("PUT", "PATCH", "DELETE")),
    "groups.view": ("GET /deviceGroups", "GET /deviceGroups/{id}", "GET /deviceGroups/{id}/devices"),
    "groups.manage": tuple(f"{method} /deviceGroups/{{id}}" for method in ("PUT", "PATCH", "DELETE")),
    "jobs.view": (
        "GET /jobs",
        "GET /jobs/{id}",
        "GET /jobs/{id}/devices",
        "GET /scheduledJobs",
        "GET /scheduledJobs/{id}",
        "GET /scheduledJobs/{id}/jobs",
    ),
    "jobs.manage": (
        "PUT /jobs/{id}",
        "POST /jobs/{id}/stop",
        "POST /jobs/{id}/resume",
        "PUT /jobs/{id}/rerun/{rerun}",
        *(f"{method} /scheduledJobs/{{id}}" for method in ("PUT", "PATCH", "DELETE")),
    ),
    "settings.manage": tuple(f"{method} /fileUploads" for method in ("GET", "PUT", "PATCH", "DELETE")),
    "data.view": ("POST /query",),
    # Those of an organisation take more to be changed, which the test of dashboards shows.
    "dashboards.view": (
        "GET /dashboards",
        *(f"{method} /dashboards/{{id}}" for method in ("GET", "PUT", "PATCH", "DELETE")),
    ),
    "exports.view": tuple(f"GET /dataExport/{what}" for what in _EXPORTS),
    "exports.manage": tuple(
        f"{method} /dataExport/{what}" for what in _EXPORTS if "{" in what for method in ("PUT", "PATCH", "DELETE")
    ),
    "manifests.view": ("GET /deploymentManifests", "GET /deploymentManifests/{id}"),
    "manifests.manage": tuple(f"{method} /deploymentManifests/{{id}}" for method in ("PUT", "PATCH", "DELETE")),
    "tokens.manage": (
        "GET /apiTokens",
        *(f"{method} /apiTokens/{{id}}" for method in ("GET", "PUT", "DELETE")),
    ),
    "users.manage": (
        "GET /users",
        *(f"{method} /users/{{id}}" for method in ("GET", "PUT", "PATCH", "DELETE")),
        "GET /roles",
        "GET /roles/{id}",
    ),
    "organizations.view": ("GET /organizations", "GET /organizations/{id}"),
    "organizations.manage": tuple(f"{method} /organizations/{{id}}" for method in ("PUT", "PATCH", "DELETE")),
}
_PARAMETERS: Final = re.compile(r"{(\w+)}")
_VALUES: Final = {"entry": "primary"}


def _target(route: Route) -> str:
    return _PARAMETERS.sub(lambda match: _VALUES.get(match[1], "nothing-of-this-name"), route.pattern)[4:]


def _named(route: Route) -> str:
    return f"{route.method} {route.pattern.removeprefix('/api')}"


async def test_every_route_takes_its_permission_and_no_other(tmp_path: Path) -> None:
    async with central_hub(tmp_path) as central:
        routes = [route for route in central.application.central.routes if route.gate != "public"]
        wanted = {name: permission for permission, names in TAKES.items() for name in names}
        assert {_named(route) for route in routes} == wanted.keys()
        tokens = {role: await central.token(role) for role in ROLES}
        wrong = []
        for route in routes:
            permission = wanted[_named(route)]
            if await _status(central, route, "SharedAccessSignature sr=x&sig=x&skn=x&se=9999999999") != 401:
                wrong.append((_named(route), "a stranger"))
            if await _status(central, route, "") != 401:
                wrong.append((_named(route), "nobody"))
            for role in ROLES:
                is_let_in = await _status(central, route, tokens[role]) != 403
                if is_let_in != (permission in PERMISSIONS[role]):
                    wrong.append((_named(route), role))
        assert not wrong


async def _status(central: Central, route: Route, who: str) -> int:
    answer = await central.hub.ask(
        route.method, f"/api{_target(route)}?api-version=2022-10-31-preview", b"{}", credential=who or None
    )
    assert answer.status < 500, (_named(route), answer.body)
    return answer.status
