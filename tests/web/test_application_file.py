"""The template of a whole application: exported on its page, and put into another hub (contract/central.md NAV-16)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from moorage.accounts.model import OWNER, OrganizationId, Role
from moorage.cli.move_in.sources import FileSource
from moorage.errors import Invalid
from moorage.ids import EnrollmentGroupId
from moorage.provisioning.drafts import CertificatesDraft, GroupDraft, KeysDraft
from tests import certs
from tests.api.application.world import Own
from tests.api.served import Answer, ServedHub
from tests.servers.world import World
from tests.web.browser import Browser, text_of

OWN = "/moorage/v1/application"
MODEL = {
    "@context": "dtmi:dtdl:context;2",
    "@id": "dtmi:plant:pump;1",
    "@type": "Interface",
    "displayName": "Pump",
    "contents": [
        {"@type": "Telemetry", "name": "pressure", "schema": "double"},
        {"@type": "Property", "name": "target", "schema": "double", "writable": True},
    ],
}
TEMPLATE = "dtmi:plant:pumpTemplate;1"
ROOT = certs.root("Plant Root")


def made(answer: Answer) -> None:
    assert answer.status < 300, answer.body


async def fill(world: World) -> None:
    """One of each, with something secret wherever there is room for it."""
    application, own = world.app.application, Own(ServedHub(world.app))
    await application.organizations.create(OWNER, OrganizationId("north"), "Plant North", OrganizationId(""))
    template = {"@type": ["ModelDefinition", "DeviceModel"], "displayName": "Pump", "capabilityModel": MODEL}
    made(await own.central.put(f"/deviceTemplates/{TEMPLATE}", template))
    tile = {"kind": "chart", "title": "Now", "capabilities": [{"name": "pressure"}]}
    view = {"displayName": "Heat", "kind": "custom", "tiles": [tile]}
    made(await own.put(f"/deviceTemplates/{TEMPLATE}/views/heat", view))
    made(await own.post(f"/deviceTemplates/{TEMPLATE}/publish"))
    made(
        await own.put(
            "/roles/viewers", {"displayName": "Viewers", "kind": "application", "permissions": ["devices.view"]}
        )
    )
    for name, attestation in (("line-7", CertificatesDraft(ROOT.certificate)), ("keys", KeysDraft())):
        draft = GroupDraft(group_id=EnrollmentGroupId(name), attestation=attestation)
        await world.app.enrollments.put_group(draft, if_match=None, by="tests", vouched=True)
    group = {
        "displayName": "Pumps",
        "filter": f'SELECT * FROM devices WHERE $template = "{TEMPLATE}" AND $simulated = false',
    }
    made(await own.central.put("/deviceGroups/pumps", group))
    condition = {"path": "pressure", "operator": "greater", "value": 5}
    actions = [
        {"id": "a", "type": "email", "displayName": "Tell", "to": ["ada@example.com"]},
        {"id": "b", "type": "webhook", "displayName": "Hook", "url": "https://hooks.example.com/SECRET-HOOK"},
    ]
    rule = {"displayName": "High", "template": TEMPLATE, "conditions": [condition], "actions": actions}
    made(await own.put("/rules/high", rule))
    question = {
        "displayName": "Today",
        "personal": False,
        "group": "pumps",
        "measures": [{"name": "pressure", "aggregate": "average"}],
    }
    made(await own.put("/queries/today", question))


async def test_an_application_is_exported_as_one_file_without_a_secret_as_move_in_reads_it(
    world: World, browser: Browser, as_role: Callable[[Role], Awaitable[Browser]], tmp_path: Path
) -> None:
    await fill(world)
    page = await browser.open("/settings/application")
    assert "Application template export" in text_of(page)
    answer = await browser.get("/settings/application/template.json")
    assert answer.headers["content-disposition"].startswith('attachment; filename="application-')
    document = answer.json()
    assert (document["format"], document["version"]) == ("moorage application", 1)
    assert [each["id"] for each in document["organizations"]] == ["north"]
    assert document["deviceTemplates"][0]["views"][0]["id"] == "heat"
    assert document["roles"][0]["displayName"] == "Viewers"
    assert (
        ROOT.certificate.pem
        == next(each for each in document["enrollmentGroups"] if each["id"] == "line-7")["certificates"]["primary"][
            "certificate"
        ]
    )
    assert {each["kind"] for each in document["leftOut"]} == {"rules"}
    keys = world.app.enrollments.get_group(EnrollmentGroupId("keys")).attestation
    for secret in ("SECRET-HOOK", keys.primary.reveal()):  # type: ignore[union-attr] # they are keys
        assert secret not in answer.text
    assert (await (await as_role("operator")).get("/settings/application/template.json")).status_code == 403

    file = tmp_path / "application.json"
    file.write_text(answer.text)
    source = FileSource(file)
    found = {kind.name: [item[kind.key] for item in source.items(kind)] for kind in source.kinds}
    default = ["SAS-IoT-Devices", "SAS-IoT-Edge-Devices"]
    assert found == {
        "organizations": ["north"],
        "roles": ["viewers"],
        "deviceTemplates": [TEMPLATE],
        "enrollmentGroups": ["keys", "line-7", *default],
        "deviceGroups": ["pumps"],
        "scheduledJobs": [],
        "dashboards": [],
        "dataExport/destinations": [],
        "dataExport/exports": [],
        "rules": ["high"],
        "queries": ["today"],
    }
    assert [finding.kind for finding in source.findings] == ["rules"]
    # No list is written that nothing reads.
    assert {name for name, value in document.items() if isinstance(value, list)} == {*found, "leftOut"}


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{}", '{"format": "moorage application", "version": 2}', "[" * 100_000],
    ids=["empty", "list", "object", "newer", "deep"],
)
def test_what_is_no_template_of_an_application_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "application.json"
    file.write_text(text)
    with pytest.raises(Invalid, match=r"move_in\.file"):
        FileSource(file)


@pytest.mark.parametrize("items", [{}, ["x"], [{"id": 1}], [{}]])
def test_an_item_without_a_name_is_named_by_its_place(tmp_path: Path, items: Any) -> None:
    file = tmp_path / "application.json"
    file.write_text(json.dumps({"format": "moorage application", "version": 1, "rules": items, "leftOut": [1, {}]}))
    source = FileSource(file)
    kind = next(kind for kind in source.kinds if kind.name == "rules")
    with pytest.raises(Invalid, match=r"rules\[0\]"):
        list(source.items(kind))
