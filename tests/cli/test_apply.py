"""Declared state against a real hub: applied, changed, checked, exported, and taken to another hub."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hubs import Hub, running_hub

MOORAGE = (sys.executable, "-c", "import sys; from moorage.cli import main; sys.exit(main())")
STATE = """
[ca.factory]
certificate = "factory_cert.pem"
prove-with = "factory_key.pem"

[policy.dashboard]
rights = ["ServiceConnect", "RegistryRead"]

[dps-policy.enroller]
rights = ["EnrollmentWrite"]

[enrollment-group.line-1]
ca = "factory"
reprovision = "reset"
desired = { interval = 5 }

[enrollment-group.keys]
symmetric-key = true

[enrollment.pump-09]
certificate = "factory_cert.pem"
device-id = "pump-nine"
status = "disabled"

[device.pump-01]
auth = "x509-ca"
tags = { site = "harbour", place = { floor = 2 } }
desired = { interval = 5 }

[device.pump-01.modules.camera]
auth = "sas"
tags = { lens = "wide" }

[device.gateway]
auth = "sas"
edge = true
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("declared") / "hub") as hub:
        yield hub


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Path:
    folder = tmp_path_factory.mktemp("state")
    hub.moorage("cert", "root", "factory", "--out", str(folder))
    (folder / "hub.toml").write_text(STATE)
    return folder


# What a command printed: a refusal on standard error, everything else on standard output.
def run(hub: Hub, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [*MOORAGE, *arguments, "--data", str(hub.data)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code == 1 else done.stdout


def changes(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_applied_once_it_holds_what_was_declared_and_twice_changes_nothing(folder: Path, tmp_path: Path) -> None:
    with running_hub(tmp_path / "empty") as hub:
        _apply_twice(hub, str(folder / "hub.toml"))


def _apply_twice(hub: Hub, state: str) -> None:
    first = changes(run(hub, "apply", state, "--check", "--json", code=5))
    assert {(each["action"], each["kind"], each["name"]) for each in first} == {
        ("create", "ca", "factory"),
        ("create", "policy", "dashboard"),
        ("create", "dps-policy", "enroller"),
        ("create", "enrollment-group", "line-1"),
        ("create", "enrollment-group", "keys"),
        ("create", "enrollment", "pump-09"),
        ("create", "device", "pump-01"),
        ("create", "module", "pump-01/camera"),
        ("create", "device", "gateway"),
    }
    assert hub.request("GET", "/statistics/devices")["totalDeviceCount"] == 0, "--check changed something"

    shown = run(hub, "apply", state)
    assert "+ ca factory" in shown
    assert "tags.place.floor: 2" in shown
    assert shown.endswith("Done: 9 changed, 0 were as declared.\n")
    assert run(hub, "apply", state, "--check") == "0 to change, 9 as declared.\n"
    etag = hub.request("GET", "/twins/pump-01")["etag"]
    assert run(hub, "apply", state) == "Nothing to do: 9 as declared.\n"
    assert hub.request("GET", "/twins/pump-01")["etag"] == etag

    assert [each["properties"]["isVerified"] for each in hub.ask("ca", "list")] == [True, True]
    assert hub.request("GET", "/enrollments/pump-09")["deviceId"] == "pump-nine"
    assert hub.request("GET", "/enrollmentGroups/line-1")["reprovisionPolicy"] == {
        "updateHubAssignment": True,
        "migrateDeviceData": False,
    }


def test_what_differs_is_shown_and_what_is_not_named_stays(hub: Hub, folder: Path) -> None:
    run(hub, "apply", str(folder / "hub.toml"))
    keys = hub.request("GET", "/devices/gateway")["authentication"]["symmetricKey"]
    hub.request("PATCH", "/twins/pump-01", body={"tags": {"kept": 1, "place": {"floor": 7}}})
    hub.moorage("device", "disable", "gateway")
    (folder / "changed.yaml").write_text(
        "device:\n  pump-01: {tags: {site: null, place: {floor: 3}}}\n  gateway: {status: enabled}\n"
    )
    found = changes(run(hub, "apply", str(folder / "changed.yaml"), "--json"))
    assert {each["name"]: each["differences"] for each in found} == {
        "pump-01": [
            {"member": "tags.site", "before": "harbour", "after": None},
            {"member": "tags.place.floor", "before": 7, "after": 3},
        ],
        "gateway": [{"member": "status", "before": "disabled", "after": "enabled"}],
    }
    assert hub.request("GET", "/twins/pump-01")["tags"] == {"kept": 1, "place": {"floor": 3}}
    gateway = hub.request("GET", "/devices/gateway")
    assert gateway["status"] == "enabled"
    assert gateway["authentication"]["symmetricKey"] == keys


def test_a_certificate_is_rolled_in_the_file_and_then_on_the_hub(hub: Hub, folder: Path) -> None:
    state = folder / "roll.yaml"
    hub.moorage("cert", "root", "old", "--out", str(folder))
    hub.moorage("cert", "root", "new", "--out", str(folder))
    state.write_text("enrollment-group: {roll: {certificate: old_cert.pem}}")
    run(hub, "apply", str(state))
    state.write_text("enrollment-group: {roll: {certificate: old_cert.pem, secondary: new_cert.pem}}")
    assert "secondary: nothing -> CN=new" in run(hub, "apply", str(state))
    slots = hub.request("GET", "/enrollmentGroups/roll")["attestation"]["x509"]["signingCertificates"]
    assert [slots[slot]["info"]["subjectName"] for slot in ("primary", "secondary")] == ["CN=old", "CN=new"]


def test_what_is_refused_is_named_and_the_rest_is_made(hub: Hub, folder: Path) -> None:
    state = folder / "partly.yaml"
    state.write_text("enrollment-group: {lost: {ca: nobody}}\ndevice: {made-all-the-same: {}}")
    said = run(hub, "apply", str(state), code=1)
    assert "enrollment-group.lost" in said
    assert "declared.incomplete: 1 of 2 changes were refused" in said
    assert hub.request("GET", "/devices/made-all-the-same")["status"] == "enabled"


@pytest.mark.parametrize("suffix", ["toml", "yaml"])
def test_an_export_makes_another_hub_the_same(hub: Hub, folder: Path, tmp_path: Path, suffix: str) -> None:
    run(hub, "apply", str(folder / "hub.toml"))
    file = tmp_path / f"export.{suffix}"
    run(hub, "export", str(file), "--keys")
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    with running_hub(tmp_path / "other") as other:
        run(other, "apply", str(file))
        assert run(other, "apply", str(file), "--check").startswith("0 to change")
        run(other, "export", str(tmp_path / f"again.{suffix}"), "--keys")
    assert (tmp_path / f"again.{suffix}").read_text() == file.read_text()


def test_an_export_without_keys_holds_none_and_is_as_declared(hub: Hub, folder: Path, tmp_path: Path) -> None:
    run(hub, "apply", str(folder / "hub.toml"))
    text = run(hub, "export", "--format", "toml")
    assert "-key = " not in text.replace("symmetric-key = true", "")
    file = tmp_path / "same.toml"
    file.write_text(text)
    assert run(hub, "apply", str(file), "--check").startswith("0 to change")
