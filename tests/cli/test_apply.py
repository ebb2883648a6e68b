"""Declared state against a real hub: applied, changed, checked, exported, and taken to another hub."""

from __future__ import annotations

import json
import os
import re
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
    # An endorsement key is the public half of a TPM's.
    assert not re.search("(?:primary|secondary)-key = ", text)
    file = tmp_path / "same.toml"
    file.write_text(text)
    assert run(hub, "apply", str(file), "--check").startswith("0 to change")


def test_a_member_that_is_not_named_stays_when_another_changes(hub: Hub, folder: Path) -> None:
    for name in ("first", "second"):
        hub.moorage("cert", "root", name, "--out", str(folder))
    tpm = {"endorsementKey": "YWJj", "storageRootKey": "ZGVm"}
    hub.request("PUT", "/enrollments/kept-tpm", body={"attestation": {"type": "tpm", "tpm": tpm}})
    state = folder / "kept.yaml"
    state.write_text("""
enrollment-group:
  kept: {certificate: first_cert.pem, secondary: second_cert.pem}
  kept-ca: {ca: kept-1, secondary-ca: kept-2}
ca:
  kept-1: {certificate: first_cert.pem, verified: true}
  kept-2: {certificate: second_cert.pem, verified: true}
""")
    run(hub, "apply", str(state))
    before = hub.request("GET", "/enrollmentGroups/kept")["attestation"]
    state.write_text("""
enrollment-group:
  kept: {certificate: first_cert.pem, status: disabled}
  kept-ca: {ca: kept-1, status: disabled}
enrollment:
  kept-tpm: {endorsement-key: YWJj, status: disabled}
""")
    run(hub, "apply", str(state))
    group = hub.request("GET", "/enrollmentGroups/kept")
    assert group["provisioningStatus"] == "disabled"
    assert group["attestation"] == before
    references = hub.request("GET", "/enrollmentGroups/kept-ca")["attestation"]["x509"]["caReferences"]
    assert references == {"primary": "kept-1", "secondary": "kept-2"}
    enrollment = hub.request("GET", "/enrollments/kept-tpm")
    assert (enrollment["provisioningStatus"], enrollment["attestation"]["tpm"]) == ("disabled", tpm)

    state.write_text("enrollment-group: {kept: {certificate: second_cert.pem}}")
    run(hub, "apply", str(state))
    slots = hub.request("GET", "/enrollmentGroups/kept")["attestation"]["x509"]["signingCertificates"]
    assert [slots[slot]["info"]["subjectName"] for slot in ("primary", "secondary")] == ["CN=second", "CN=second"]


def test_a_group_may_have_nothing_but_a_secondary(hub: Hub, folder: Path) -> None:
    hub.moorage("cert", "root", "lone", "--out", str(folder))
    state = folder / "lone.yaml"
    state.write_text("""
ca: {lone: {certificate: lone_cert.pem, verified: true}}
enrollment-group: {lone: {secondary: lone_cert.pem}, lone-ca: {secondary-ca: lone}}
""")
    run(hub, "apply", str(state))
    slots = hub.request("GET", "/enrollmentGroups/lone")["attestation"]["x509"]["signingCertificates"]
    assert set(slots) == {"secondary"}
    exported = folder / "lone-export.toml"
    run(hub, "export", str(exported), "--only", "enrollment-group")
    assert run(hub, "apply", str(exported), "--check").startswith("0 to change")


def test_an_export_without_keys_leaves_the_web_hook_alone(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hook = "https://hook.example/api/place?code=c2VjcmV0"
    (folder / "hook.yaml").write_text(
        f"enrollment: {{hooked: {{symmetric-key: true, allocation: custom, webhook: '{hook}'}}}}"
    )
    assert "c2VjcmV0" not in run(hub, "apply", str(folder / "hook.yaml"))
    exported = tmp_path / "without.yaml"
    run(hub, "export", str(exported), "--only", "enrollment")
    assert "hook.example" not in exported.read_text()
    assert run(hub, "apply", str(exported), "--check").startswith("0 to change")
    exported.write_text("enrollment: {hooked: {symmetric-key: true, allocation: custom, status: disabled}}")
    run(hub, "apply", str(exported))
    assert hub.request("GET", "/moorage/v1/enrollments/hooked/webhook")["webhookUrl"] == hook
    exported.write_text("enrollment: {unhooked: {symmetric-key: true, allocation: custom}}")
    assert "webhook is missing" in run(hub, "apply", str(exported), code=1)


def test_verification_is_not_taken_back_and_never_shown_as_done(hub: Hub, folder: Path) -> None:
    hub.moorage("cert", "root", "sure", "--out", str(folder))
    state = folder / "sure.yaml"
    state.write_text("ca: {sure: {certificate: sure_cert.pem, verified: true}}")
    run(hub, "apply", str(state))
    state.write_text("ca: {sure: {certificate: sure_cert.pem, verified: false}}")
    assert "declared.stays" in run(hub, "apply", str(state), code=1)


def test_a_key_is_read_only_where_it_is_needed(hub: Hub, folder: Path) -> None:
    hub.moorage("cert", "root", "away", "--out", str(folder))
    state = folder / "away.yaml"
    state.write_text("""
ca: {away: {certificate: away_cert.pem, prove-with: elsewhere.pem}}
device: {after-away: {}}
""")
    said = run(hub, "apply", str(state), code=1)
    assert "ca.away: prove-with" in said
    assert "elsewhere.pem cannot be read: No such file" in said
    assert hub.request("GET", "/devices/after-away")["status"] == "enabled"
    (folder / "away_key.pem").rename(folder / "elsewhere.pem")
    run(hub, "apply", str(state))
    (folder / "elsewhere.pem").unlink()
    assert run(hub, "apply", str(state), "--check").startswith("0 to change")


def test_a_tag_that_looks_like_a_certificate_is_a_text(hub: Hub, folder: Path) -> None:
    state = folder / "text.yaml"
    state.write_text("device: {texted: {tags: {trust: '-----BEGIN CERTIFICATE----- and no more'}}}")
    assert "and no more" in run(hub, "apply", str(state))
    assert hub.request("GET", "/twins/texted")["tags"] == {"trust": "-----BEGIN CERTIFICATE----- and no more"}


def test_two_certificates_under_one_name_are_not_exported_as_one(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub") as hub:
        for name, service in (("one", "hub"), ("two", "dps")):
            hub.moorage("cert", "root", name, "--out", str(tmp_path))
            hub.moorage("ca", "add", str(tmp_path / f"{name}_cert.pem"), "--name", "same", "--for", service)
        assert "declared.ambiguous" in run(hub, "export", code=1)
