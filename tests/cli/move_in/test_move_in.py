"""From one hub into another, both real: what an application tells of itself arrives, what it cannot tell is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import certs
from tests.certs import Issued
from tests.hubs import Hub, running_hub

STABLE = {"api-version": "2022-07-31"}
MODEL = "dtmi:plant:pump;1"
TEMPLATE = "dtmi:plant:pumpTemplate;1"


def template() -> dict[str, Any]:
    contents = [
        {"@type": "Telemetry", "name": "pressure", "schema": "double"},
        {"@type": "Property", "name": "target", "schema": "double", "writable": True},
        {"@type": ["Property", "Cloud", "StringValue"], "name": "site", "schema": "string"},
    ]
    context = ["dtmi:iotcentral:context;2", "dtmi:dtdl:context;2"]
    model = {"@id": MODEL, "@type": "Interface", "displayName": "Pump", "contents": contents}
    return {
        "@type": ["ModelDefinition", "DeviceModel"],
        "@context": context,
        "displayName": "Pump",
        "capabilityModel": model,
    }


class Plant:
    """Two hubs: the one that is left, and the one that is moved into."""

    def __init__(self, old: Hub, new: Hub, folder: Path) -> None:
        self.old, self.new = old, new
        self.folder = folder
        self.token = folder / "token"
        self.token.write_text(f"Bearer {old.moorage('token').strip()}\n")
        self.files = folder / "certificates"
        self.files.mkdir()

    def put(self, path: str, body: dict[str, Any]) -> Any:
        return self.old.request("PUT", f"/api/{path}", body=body, query=STABLE)

    def get(self, path: str) -> Any:
        return self.new.request("GET", f"/api/{path}", query=STABLE)

    def move(self, *more: str, code: int = 0) -> dict[str, Any]:
        """The report."""
        info = self.old.info
        source = f"https://{info.hostname}:{info.https_port}"
        arguments = ["move-in", source, "--token-file", str(self.token), "--ca-file", str(info.ca_bundle)]
        return self.run([*arguments, *more], code)

    def run(self, arguments: list[str], code: int) -> dict[str, Any]:
        run = self.new.run(*arguments, "--json")
        assert run.returncode == code, run.stdout + run.stderr
        return dict(json.loads(run.stdout))

    def keep(self, issued: Issued, name: str) -> None:
        (self.files / f"{name}.pem").write_text(issued.certificate.pem)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("move-in")
    with running_hub(folder / "old") as old, running_hub(folder / "new") as new:
        yield Plant(old, new, folder)


def test_an_application_moves_with_its_groups_devices_and_credentials(plant: Plant) -> None:
    root, pump, lost = certs.root("Move Root"), certs.self_signed("pump-x509"), certs.self_signed("pump-lost")
    plant.keep(root, "root")
    plant.keep(pump, "pump")
    plant.put("organizations/ghent", {"displayName": "Ghent"})
    plant.put("organizations/ghent-north", {"displayName": "Ghent North", "parent": "ghent"})
    plant.put("enrollmentGroups/widgets", {"displayName": "Widgets", "type": "iot", "attestation": {"type": "x509"}})
    plant.put("enrollmentGroups/widgets/certificates/primary", {"certificate": root.certificate.pem, "verified": True})
    keys = {"primaryKey": "cHJpbWFyeSBrZXkgb2YgdGVzdHM=", "secondaryKey": "c2Vjb25kYXJ5IGtleSBvZiB0ZXN0cw=="}
    by_key = {"type": "symmetricKey", "symmetricKey": keys}
    plant.put("enrollmentGroups/keys", {"displayName": "Keys", "type": "iotEdge", "attestation": by_key})
    plant.put(f"deviceTemplates/{TEMPLATE}", template())
    described = {"displayName": "Pump by key", "template": TEMPLATE, "organizations": ["ghent-north"]}
    plant.put("devices/pump-key", described)
    plant.old.request("PATCH", "/api/devices/pump-key/properties", body={"site": "Ghent"}, query=STABLE)
    pumps = f'SELECT * FROM devices WHERE $template = "{TEMPLATE}"'
    plant.put("deviceGroups/pumps", {"displayName": "Pumps", "filter": pumps})
    plant.put("devices/pump-key/attestation", by_key)
    for issued in (pump, lost):
        name = str(issued.certificate.common_name())
        certificates = {"primary": {"certificate": issued.certificate.pem}}
        plant.put(f"devices/{name}", {"displayName": name.upper(), "enabled": False})
        plant.put(f"devices/{name}/attestation", {"type": "x509", "x509": {"clientCertificates": certificates}})

    rehearsal = plant.move(
        "--dry-run", "--certificates", str(plant.files), "--save", str(plant.folder / "kept"), code=1
    )
    assert rehearsal["moved"]["devices"] == 3
    assert plant.get("devices")["value"] == []

    report = plant.move("--certificates", str(plant.files), "--vouch", code=1)
    assert (report["moved"]["devices"], report["moved"]["organizations"]) == (3, 2)
    sentences = {finding["name"]: finding["sentence"] for finding in report["findings"]}
    assert sentences.keys() == {"pump-lost"}
    assert lost.certificate.sha1 in sentences["pump-lost"]

    assert plant.get("organizations/ghent-north")["parent"] == "ghent"
    group = plant.get("enrollmentGroups/widgets/certificates/primary")
    assert (group["verified"], group["info"]["sha1Thumbprint"].upper()) == (True, root.certificate.sha1)
    edge = plant.get("enrollmentGroups/keys")
    assert (edge["type"], edge["attestation"]["symmetricKey"]) == ("iotEdge", keys)
    device = plant.get("devices/pump-key")
    assert {name: device[name] for name in described} == described
    assert plant.get(f"deviceTemplates/{TEMPLATE}")["capabilityModel"] == template()["capabilityModel"]
    assert plant.get("devices/pump-key/properties")["site"] == "Ghent"
    assert plant.get("deviceGroups/pumps")["filter"] == pumps
    assert plant.get("devices/pump-key/attestation")["symmetricKey"] == keys
    pinned = plant.get("devices/pump-x509/attestation")["x509"]["clientCertificates"]
    assert pinned["primary"]["info"]["sha1Thumbprint"].upper() == pump.certificate.sha1
    assert plant.get("devices/pump-x509")["enabled"] is False

    # A second run, from what was kept, changes nothing and ends as the first.
    again = plant.run(["move-in", str(plant.folder / "kept"), "--certificates", str(plant.files), "--vouch"], code=1)
    assert again["moved"]["devices"] == 3
    assert [finding["name"] for finding in again["findings"]] == ["pump-lost"]


def test_the_template_of_a_whole_application_is_put_into_a_hub(plant: Plant, tmp_path: Path) -> None:
    own, root = "/moorage/v1/application", certs.root("Other Root")
    tile = {"kind": "chart", "title": "Now", "capabilities": [{"name": "pressure"}]}
    view = {"id": "heat", "displayName": "Heat", "kind": "custom", "tiles": [tile]}
    certificate = {"certificate": root.certificate.pem, "info": {"sha1Thumbprint": root.certificate.sha1}}
    condition = {"path": "pressure", "operator": "greater", "value": 5}
    email = {"id": "a", "type": "email", "displayName": "Tell", "to": ["ada@example.com"], "note": ""}
    rule = {"id": "high", "displayName": "High", "template": f"{TEMPLATE}2", "conditions": [condition]}
    query = {"id": "today", "displayName": "Today", "personal": False, "devices": ["p"], "measures": [{"name": "x"}]}
    document = {
        "format": "moorage application",
        "version": 1,
        "organizations": [{"id": "leuven", "displayName": "Leuven"}],
        "roles": [{"id": "viewers", "displayName": "Viewers", "kind": "application", "permissions": ["devices.view"]}],
        "deviceTemplates": [{**template(), "@id": f"{TEMPLATE}2", "views": [view]}],
        "enrollmentGroups": [
            {
                "id": "line-7",
                "displayName": "Line 7",
                "type": "iot",
                "attestation": {"type": "x509"},
                "certificates": {"primary": certificate},
            },
            {"id": "by-key", "displayName": "By key", "type": "iot", "attestation": {"type": "symmetricKey"}},
        ],
        "rules": [{**rule, "actions": [email]}],
        "queries": [query],
        "leftOut": [{"kind": "rules", "name": "High", "why": "its web hook"}],
    }
    file = tmp_path / "application.json"
    file.write_text(json.dumps(document))
    report = plant.run(["move-in", str(file), "--vouch"], code=1)
    assert [(each["kind"], each["name"]) for each in report["findings"]] == [
        ("rules", "High"),
        ("device connection groups", "by-key"),
    ]
    assert report["moved"]["roles"] == report["moved"]["rules"] == report["moved"]["saved queries"] == 1
    assert any("devices, with their data" in each for each in report["staysBehind"])
    assert plant.get("enrollmentGroups/line-7/certificates/primary")["verified"] is True
    there = f"{own}/deviceTemplates/{TEMPLATE}2"
    assert plant.new.request("GET", f"{there}/views/heat")["tiles"][0]["title"] == "Now"
    assert plant.new.request("GET", there)["draft"] is False
    assert plant.new.request("GET", f"{own}/rules/high")["actions"] == [email]
    assert plant.new.request("GET", f"{own}/roles/viewers")["permissions"] == ["devices.view"]
    assert plant.new.request("GET", f"{own}/queries/today")["devices"] == ["p"]


def test_a_token_that_is_not_taken_is_said_to_be_the_reason(plant: Plant, tmp_path: Path) -> None:
    foreign = tmp_path / "token"
    foreign.write_text("SharedAccessSignature sr=x&sig=eA%3D%3D&skn=none&se=1900000000000")
    info = plant.old.info
    told = plant.new.moorage(
        "move-in",
        f"https://{info.hostname}:{info.https_port}",
        "--token-file",
        str(foreign),
        "--ca-file",
        str(info.ca_bundle),
        code=1,
    )
    assert told.startswith("move_in.token: ")
    assert "--token-file" in told


@pytest.mark.parametrize(
    ("source", "reason"), [("https://host/path", "move_in.url"), ("http://host", "move_in.url"), ("", "move_in.folder")]
)
def test_what_is_no_application_is_not_asked(plant: Plant, tmp_path: Path, source: str, reason: str) -> None:
    told = plant.new.moorage("move-in", source or str(tmp_path), "--token-file", str(plant.token), code=1)
    assert told.startswith(f"{reason}: ")
