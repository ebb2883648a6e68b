"""One of everything that a page can be about, beside the plant: jobs, rules, exports, an edge device, and so on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from playwright.sync_api import Browser

from tests.browser.pages import Person, signed_in
from tests.browser.plant import PUMPS, TEMPLATE, build, knock, run_apart, running_pumps
from tests.e2e.sdk import until
from tests.hubs import Hub, free_port, sdk_hub
from tests.manifests import CONTENT
from tests.servers.world import running

__all__ = ["DRAFT", "GATEWAY", "VALVE", "VALVE_MODEL", "WAITING", "WIDE", "Furnished", "furnished"]

WIDE: Final = {"width": 1280, "height": 800}
GATEWAY: Final = "gateway-01"
WAITING: Final = "pump-20"
VALVE: Final = "valve-01"
# Of a template that nobody has published.
DRAFT: Final = "dtmi:plant:valveTemplate;1"
VALVE_MODEL: Final = "dtmi:plant:valve;1"
_ALL_PUMPS: Final = "all-plant-pumpTemplate-1"
_STABLE: Final = "2022-07-31"
_PREVIEW: Final = "2022-10-31-preview"


class Furnished(NamedTuple):
    """A plant with something on every page, two of its pumps at work, and an administrator on a large screen, by day.

    `patterns` are the paths of all pages that are asked for by GET, `found` what their parameters may be.
    """

    hub: Hub
    folder: Path
    person: Person
    patterns: list[str]
    found: dict[str, str]


@contextmanager
def furnished(browser: Browser, folder: Path) -> Iterator[Furnished]:
    with sdk_hub(folder / "hub", "--egress-allow", "127.0.0.1", web_port=free_port()) as hub:
        build(hub, folder, 2)
        with running_pumps(hub, folder, 2), signed_in(browser, hub, "ada", "light", viewport=WIDE) as person:
            found = _furnish(hub, folder, person)
            yield Furnished(hub, folder, person, run_apart(_patterns(folder / "empty")), found)


async def _patterns(data: Path) -> list[str]:
    async with running(data, web_port=free_port()) as world:
        return [page.pattern for page in world.app.web.pages if page.method == "GET"]


def _furnish(hub: Hub, folder: Path, person: Person) -> dict[str, str]:
    """The name of each parameter of a page's path, and what it is to be there. `person` is an administrator."""
    _by_rest(hub)
    _by_forms(person)
    _send(person, "/groups/auto-approve", {})
    knock(hub, folder, WAITING)
    _send(person, "/groups/auto-approve", {"on": "on"})
    ca = _rolls(hub, folder, person)
    tracking_id = hub.attempts(device="pump-09")[0]["trackingId"]
    board = hub.request("GET", "/api/dashboards/pumps", query={"api-version": _PREVIEW})
    until("the job has ended", lambda: _job(hub)["status"] == "complete", 60)
    return {
        "device_id": PUMPS[0],
        "template_id": TEMPLATE,
        "view_id": "overview",
        "group_id": "pumps",
        "slot": "primary",
        "name": ca,
        "rule_id": "too-warm",
        "destination_id": "desk",
        "export_id": "all-telemetry",
        "job_id": "set-pressure",
        "schedule_id": "nightly",
        "manifest_id": "filters",
        "query_id": "warm-pumps",
        "board_id": "pumps",
        "tile_id": board["tiles"][0]["id"],
        "tracking_id": tracking_id,
        "role_id": _role(hub),
        "organization_id": "ghent",
    }


def _call(hub: Hub, method: str, path: str, body: Any = None, version: str = _STABLE) -> Any:
    return hub.request(method, f"/api/{path}", body=body, query={"api-version": version})


def _job(hub: Hub) -> Any:
    return _call(hub, "GET", "jobs/set-pressure")


def _role(hub: Hub) -> str:
    return next(str(each["id"]) for each in _call(hub, "GET", "roles")["value"] if each["displayName"] == "Fitter")


def _by_rest(hub: Hub) -> None:
    valve = {
        "@id": VALVE_MODEL,
        "@type": "Interface",
        "displayName": "Valve",
        "contents": [
            {"@type": "Telemetry", "name": "opening", "displayName": "Opening", "schema": "double"},
            {"@type": "Property", "name": "limits", "displayName": "Limits", "writable": True, "schema": _limits()},
            {
                "@type": "Command",
                "name": "close",
                "displayName": "Close",
                "request": {"name": "why", "schema": "string"},
            },
        ],
    }
    capability = {"@type": ["ModelDefinition", "DeviceModel"], "displayName": "Valve", "capabilityModel": valve}
    context = {"@context": ["dtmi:iotcentral:context;2", "dtmi:dtdl:context;2"]}
    _call(hub, "PUT", f"deviceTemplates/{DRAFT}", {**capability, **context})
    _call(hub, "PUT", f"devices/{VALVE}", {"displayName": "Valve 1", "template": DRAFT, "simulated": True})
    filter_ = f'SELECT * FROM devices WHERE $template = "{TEMPLATE}" AND $provisioned = true'
    _call(hub, "PUT", "deviceGroups/running-pumps", {"displayName": "Running pumps", "filter": filter_})
    data = [{"type": "property", "target": TEMPLATE, "path": "targetPressure", "value": 5.5}]
    job = {"displayName": "Set the pressure", "group": _ALL_PUMPS, "data": data}
    _call(hub, "PUT", "jobs/set-pressure", job)
    later = {"start": "2099-01-01T00:00:00Z", "recurrence": "daily"}
    _call(hub, "PUT", "scheduledJobs/nightly", {**job, "displayName": "Every night", "schedule": later})
    desk = {"displayName": "The desk", "type": "webhook@v1", "url": "https://127.0.0.1:9/in"}
    _call(hub, "PUT", "dataExport/destinations/desk", desk, _PREVIEW)
    export = {"displayName": "All telemetry", "enabled": False, "source": "telemetry", "destinations": [{"id": "desk"}]}
    _call(hub, "PUT", "dataExport/exports/all-telemetry", export, _PREVIEW)
    manifest = {"displayName": "Filters", "data": CONTENT}
    _call(hub, "PUT", "deploymentManifests/filters", manifest, _PREVIEW)
    hub.moorage("device", "create", GATEWAY, "--edge")
    _call(hub, "PUT", "apiTokens/plant-desk", {"roles": [{"role": "operator"}]})


def _limits() -> dict[str, Any]:
    def field(name: str) -> dict[str, str]:
        return {"name": name, "displayName": name.title(), "schema": "double"}

    return {"@type": "Object", "fields": [field("lowest"), field("highest")]}


def _by_forms(person: Person) -> None:
    _send(
        person,
        "/rules",
        {
            "id": "too-warm",
            "name": "Too warm",
            "template": TEMPLATE,
            "watches": "messages",
            "joined": "all",
            "enabled": "on",
            "path0": "temperature",
            "operator0": "greater",
            "value0": "20",
            "atype0": "webhook",
            "aname0": "Tell the desk",
            "aurl0": "https://127.0.0.1:9/in",
        },
    )
    _send(person, "/roles", {"name": "Fitter", "kind": "application", "may:devices.view": "on"})
    asked = f"group={_ALL_PUMPS}&s=temperature:average"
    _send(person, "/explorer/queries", {"id": "warm-pumps", "name": "Warm pumps", "asked": asked})
    _send(person, f"/devices/{PUMPS[0]}/aliases", {"alias": "heat", "path": "$.temperature"})
    _send(person, f"/devices/{GATEWAY}/manifest", {"manifest": "filters"})
    _send(person, f"/devices/{GATEWAY}/downstream", {"child": PUMPS[1]})


def _rolls(hub: Hub, folder: Path, person: Person) -> str:
    """Beside the group's root stands another, and one takes the place of a CA that is registered; the CA's name."""
    for name in ("company-y", "company-z", "company-old"):
        hub.moorage("cert", "root", name, cwd=folder)
    old = [str(folder / f"companyOld_{part}.pem") for part in ("cert", "key")]
    ca = str(hub.ask("ca", "add", old[0], "--prove-with", old[1])[0][0]["name"])
    for chosen, certificate, there in (
        ("pumps", "companyY", "rolls/pumps"),
        (f"ca: {ca}", "companyZ", f"ca-rolls/{ca}"),
    ):
        person.open(f"/certificates/rehearsal?{urlencode({'group': chosen, 'slot': 'secondary'})}")
        person.page.set_input_files("#certificate", folder / f"{certificate}_cert.pem")
        person.press("Rehearse")
        person.press("Roll it now")
        person.page.wait_for_url(f"**/certificates/{there}")
    return ca


def _send(person: Person, path: str, fields: dict[str, str | float | bool]) -> None:
    """A form, as a browser sends it; one that was taken leads to another page."""
    answer = person.page.request.post(
        person.origin + path, form=fields, headers={"sec-fetch-site": "same-origin"}, max_redirects=0
    )
    wrong = re.findall(r"<strong>(.*?)</strong>", answer.text()) if answer.status != 303 else []
    assert answer.status == 303, f"{path}: {answer.status} {wrong}"
