"""One provisioning service in front of two hubs, each a process of its own; a web hook chooses between them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient

from moorage.cli.hub_client import segment
from moorage.errors import Refusal
from tests import certs
from tests.callees import Callee, Received, callee, server_root
from tests.certs import Issued
from tests.e2e.sdk import Bench
from tests.hubs import Hub, sdk_hub
from tests.servers.clients import tls_context

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Pair:
    """`near` provisions, and is linked to `far`."""

    near: Hub
    far: Hub

    def enroll(self, group: str = "line-7", **members: Any) -> Any:
        """The group, made or changed."""
        path = f"/enrollmentGroups/{group}"
        slot = {"primary": {"certificate": plant(group).certificate.pem}}
        attestation = {"type": "x509", "x509": {"signingCertificates": slot}}
        body = {"enrollmentGroupId": group, "attestation": attestation, **members}
        try:
            return self.near.request("PUT", path, body=body)
        except Refusal as refusal:
            assert refusal.reason == "enrollment.exists"
            return self.near.request("PUT", path, body=body, if_match="*")


@cache
def plant(group: str) -> Issued:
    """The CA of an enrollment group."""
    return certs.root(f"{group} Root")


@cache
def leaf(name: str, group: str = "line-7") -> Issued:
    return certs.device(plant(group), name)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    with ExitStack() as running:
        far = running.enter_context(sdk_hub(folder / "far"))
        trusted = folder / "trusted.pem"
        trusted.write_text(far.trust + server_root().certificate.pem)
        flags = ("--egress-allow", "127.0.0.0/8", "--egress-ca-bundle", str(trusted))
        near = running.enter_context(sdk_hub(folder / "near", *flags))
        link(near, far, folder)
        yield Pair(near, far)


def link(near: Hub, far: Hub, folder: Path, *options: str) -> str:
    file = folder / "connection.txt"
    file.write_text(far.moorage("policy", "show", "iothubowner", "--connection-string"))
    return near.moorage("linked-hub", "add", str(file), *options)


def register(hub: Hub, issued: Issued, name: str, payload: Any = None, *, patience_s: float = PATIENCE_S) -> Any:
    """Register over HTTPS and poll to the end, as a device does; the answers' operation."""
    context = tls_context(hub.ca_bundle, issued)
    path = f"https://{hub.hostname}:{hub.info.https_port}/{hub.id_scope}/registrations/{segment(name)}"
    query = {"api-version": "2021-06-01"}
    with httpx.Client(verify=context, params=query, timeout=PATIENCE_S) as device:
        answer = device.put(f"{path}/register", json={"registrationId": name, "payload": payload})
        assert answer.status_code == 202, answer.text
        deadline = time.monotonic() + patience_s
        while answer.json()["status"] == "assigning":
            assert time.monotonic() < deadline, "it is still being assigned"
            answer = device.get(f"{path}/operations/{answer.json()['operationId']}")
            assert answer.status_code in (200, 202), answer.text
            time.sleep(0.02)
    return answer.json()


def assigned(operation: Any) -> tuple[str, str]:
    state = operation["registrationState"]
    assert operation["status"] == "assigned", state
    return state["assignedHub"], state["substatus"]


def device_on(hub: Hub, name: str) -> Any:
    try:
        return hub.request("GET", f"/devices/{segment(name)}")
    except Refusal as refusal:
        assert refusal.reason == "device.not_found"
        return None


def test_the_link_is_listed_and_its_key_is_shown_to_nobody(pair: Pair) -> None:
    (own, far) = pair.near.ask("linked-hub", "list")
    assert (own["name"], own["isOwn"]) == (pair.near.hostname, True)
    assert (far["name"], far["isOwn"], far["allocationWeight"]) == (pair.far.hostname, False, 1)
    key = pair.far.info.hub_key.reveal()
    for said in (json.dumps(far), pair.near.moorage("linked-hub", "show", far["name"]), pair.near.log_text()):
        assert key not in said
    assert far["connectionString"].endswith("SharedAccessKey=****")
    assert "takes the key" in pair.near.moorage("linked-hub", "check", far["name"])


def test_an_unmodified_sdk_provisions_at_one_hub_and_connects_to_the_other(pair: Pair, tmp_path: Path) -> None:
    pair.enroll(allocationPolicy="static", iotHubs=[pair.far.hostname], initialTwin={"tags": {"hall": 3}})
    name, issued = "sdk-01", leaf("sdk-01")
    x509 = Bench(pair.near, tmp_path).x509(issued)
    provisioning = ProvisioningDeviceClient.create_from_x509_certificate(
        provisioning_host=pair.near.hostname,
        registration_id=name,
        id_scope=pair.near.id_scope,
        x509=x509,
        server_verification_cert=pair.near.trust,
    )
    result = provisioning.register()
    assert result.registration_state is not None
    assert (result.status, result.registration_state.assigned_hub) == ("assigned", pair.far.hostname)
    there = device_on(pair.far, name)
    # As Azure's provisioning service does it: by the thumbprint of the leaf, whatever its CA.
    assert there["authentication"]["type"] == "selfSigned"
    assert there["authentication"]["x509Thumbprint"]["primaryThumbprint"] == issued.certificate.sha256
    assert pair.far.request("GET", f"/twins/{name}")["tags"] == {"hall": 3}
    assert device_on(pair.near, name) is None
    device = IoTHubDeviceClient.create_from_x509_certificate(
        x509=x509, hostname=pair.far.hostname, device_id=name, server_verification_cert=pair.far.trust
    )
    try:
        device.connect()
        assert device.get_twin()["desired"]["$version"] == 1
    finally:
        device.shutdown()


def test_a_device_moves_with_its_twin_and_is_gone_where_it_was(pair: Pair) -> None:
    name, issued = "mover-01", leaf("mover-01")
    pair.enroll(allocationPolicy="static", iotHubs=[pair.near.hostname], initialTwin={"tags": {"first": True}})
    assert assigned(register(pair.near, issued, name)) == (pair.near.hostname, "initialAssignment")
    changed = {"tags": {"site": "pier"}, "properties": {"desired": {"rate": {"hz": 5}}}}
    pair.near.request("PATCH", f"/twins/{name}", body=changed)

    pair.enroll(allocationPolicy="static", iotHubs=[pair.far.hostname], initialTwin={"tags": {"second": True}})
    assert assigned(register(pair.near, issued, name)) == (pair.far.hostname, "deviceDataMigrated")
    assert device_on(pair.near, name) is None
    twin = pair.far.request("GET", f"/twins/{name}")
    assert twin["tags"] == {"first": True, "site": "pier"}
    assert twin["properties"]["desired"]["rate"] == {"hz": 5}
    # Asking again finds it where it should be and changes nothing.
    etag = device_on(pair.far, name)["etag"]
    assert assigned(register(pair.near, issued, name)) == (pair.far.hostname, "initialAssignment")
    assert device_on(pair.far, name)["etag"] == etag


def test_a_device_that_is_disabled_stays_disabled_when_it_is_reset_and_sent_back(pair: Pair) -> None:
    name, issued = "bad-01", leaf("bad-01")
    pair.enroll(allocationPolicy="static", iotHubs=[pair.far.hostname])
    register(pair.near, issued, name)
    pair.far.moorage("device", "disable", name)
    pair.enroll(
        allocationPolicy="static",
        iotHubs=[pair.near.hostname],
        reprovisionPolicy={"updateHubAssignment": True, "migrateDeviceData": False},
        initialTwin={"tags": {"fresh": 1}},
    )
    assert assigned(register(pair.near, issued, name)) == (pair.near.hostname, "deviceDataReset")
    assert device_on(pair.near, name)["status"] == "disabled"
    assert pair.near.request("GET", f"/twins/{name}")["tags"] == {"fresh": 1}
    assert device_on(pair.far, name) is None
    assert f"device.moved device={name} was={pair.far.hostname} now={pair.near.hostname}" in pair.near.log_text()


def test_devices_are_spread_by_the_weights_of_the_links(pair: Pair) -> None:
    pair.enroll("spread", allocationPolicy="hashed")
    names = [f"spread-{number}" for number in range(12)]
    hubs = {assigned(register(pair.near, leaf(name, "spread"), name))[0] for name in names}
    assert hubs == {pair.near.hostname, pair.far.hostname}
    pair.near.moorage("linked-hub", "update", pair.far.hostname, "--weight", "0")
    hubs = {assigned(register(pair.near, leaf(name, "spread"), name))[0] for name in names}
    assert hubs == {pair.near.hostname}
    pair.near.moorage("linked-hub", "update", pair.far.hostname, "--weight", "1")


def test_a_hub_that_is_away_keeps_its_devices_waiting_and_loses_nothing(pair: Pair) -> None:
    name, issued = "patient-01", leaf("patient-01")
    pair.enroll(allocationPolicy="static", iotHubs=[pair.near.hostname])
    register(pair.near, issued, name)
    pair.near.request("PATCH", f"/twins/{name}", body={"tags": {"kept": "yes"}})
    pair.enroll(allocationPolicy="static", iotHubs=[pair.far.hostname])
    pair.far.stop()
    try:
        with pytest.raises(AssertionError, match="still being assigned"):
            register(pair.near, issued, name, patience_s=1.5)
        assert device_on(pair.near, name) is not None
    finally:
        pair.far.start()
    assert assigned(register(pair.near, issued, name)) == (pair.far.hostname, "deviceDataMigrated")
    assert pair.far.request("GET", f"/twins/{name}")["tags"] == {"kept": "yes"}
    assert device_on(pair.near, name) is None


def test_a_hub_whose_key_was_rolled_refuses_and_the_operator_reads_why(pair: Pair, tmp_path: Path) -> None:
    name, issued = "late-01", leaf("late-01")
    pair.enroll(allocationPolicy="static", iotHubs=[pair.far.hostname])
    pair.far.moorage("policy", "roll", "iothubowner")
    failed = register(pair.near, issued, name)
    state = failed["registrationState"]
    assert (failed["status"], state["errorCode"]) == ("failed", 400209)
    assert state["errorMessage"] == "linked_hub.refused: the operator of the hub can read why"
    (attempt, *_) = pair.near.attempts(device=name)
    assert attempt["reason"] == "linked_hub.refused"
    assert "401" in attempt["message"]
    assert "401" in pair.near.request("GET", f"/registrations/{name}")["errorMessage"]
    link(pair.near, pair.far, tmp_path)
    assert assigned(register(pair.near, issued, name))[0] == pair.far.hostname


def test_a_link_that_is_taken_out_fails_whoever_is_bound_to_it(pair: Pair, tmp_path: Path) -> None:
    pair.enroll(allocationPolicy="static", iotHubs=[pair.far.hostname])
    pair.near.moorage("linked-hub", "remove", pair.far.hostname)
    try:
        failed = register(pair.near, leaf("lost-01"), "lost-01")
        assert failed["registrationState"]["errorCode"] == 400208
        assert pair.far.hostname in failed["registrationState"]["errorMessage"]
    finally:
        link(pair.near, pair.far, tmp_path)


# -- a web hook --------------------------------------------------------------------------------------------------------


async def test_a_web_hook_chooses_the_hub_and_speaks_to_the_device(pair: Pair) -> None:
    async def choose(received: Received, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(received.body)
        answer = {
            "iotHubHostName": asked["linkedHubs"][-1].upper(),
            "initialTwin": {"tags": {"by": "hook"}, "properties": {"desired": {"n": 1}}},
            "payload": {"welcome": asked["deviceRuntimeContext"].get("payload")},
        }
        text = json.dumps(answer).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)

    name = "hooked-01"
    async with callee(choose) as hook:
        await asyncio.to_thread(enroll_with_hook, pair, hook)
        done = await asyncio.to_thread(register, pair.near, leaf(name, "by-hook"), name, {"model": "toaster"})
        again = await asyncio.to_thread(register, pair.near, leaf(name, "by-hook"), name)
    assert assigned(done) == (pair.far.hostname, "initialAssignment")
    assert done["registrationState"]["payload"] == {"welcome": {"model": "toaster"}}
    assert again["registrationState"]["payload"] == {"welcome": None}
    assert pair.far.request("GET", f"/twins/{name}")["tags"] == {"by": "hook"}

    first, second = (json.loads(received.body) for received in hook.received)
    assert hook.received[0].target == "/api/allocate?code=open-sesame"
    assert first["enrollmentGroup"]["enrollmentGroupId"] == "by-hook"
    assert first["linkedHubs"] == [pair.near.hostname, pair.far.hostname]
    context = first["deviceRuntimeContext"]
    assert (context["registrationId"], context["payload"]) == (name, {"model": "toaster"})
    info = context["x509"]["clientCertificates"]["primary"]["info"]
    assert info["sha256Thumbprint"] == leaf(name, "by-hook").certificate.sha256
    assert "currentIotHubHostName" not in context
    context = second["deviceRuntimeContext"]
    assert (context["currentIotHubHostName"], context["currentDeviceId"]) == (pair.far.hostname, name)
    # The key in the URL is the hub's secret.
    shown = pair.near.request("GET", "/enrollmentGroups/by-hook")["customAllocationDefinition"]["webhookUrl"]
    assert shown == f"{hook.url}/api/allocate?****"
    assert first["enrollmentGroup"]["customAllocationDefinition"]["webhookUrl"] == shown
    assert "open-sesame" not in pair.near.log_text()


def enroll_with_hook(pair: Pair, hook: Callee) -> None:
    definition = {"webhookUrl": f"{hook.url}/api/allocate?code=open-sesame", "apiVersion": "2021-10-01"}
    pair.enroll("by-hook", allocationPolicy="custom", customAllocationDefinition=definition)


def test_where_devices_go_is_said_on_the_command_line(pair: Pair, tmp_path: Path) -> None:
    near, far = pair.near, pair.far
    url = tmp_path / "url.txt"
    url.write_text("https://hook.example/allocate?code=open-sesame\n")
    (made,) = near.ask(
        "enrollment", "create", "cli-01", "--symmetric-key", "--allocation", "static", "--hub", far.hostname
    )
    assert (made["allocationPolicy"], made["iotHubs"]) == ("static", [far.hostname])
    (changed,) = near.ask("enrollment", "update", "cli-01", "--webhook", str(url), "--reprovision", "reset")
    assert changed["allocationPolicy"] == "custom"
    assert changed["customAllocationDefinition"] == {
        "webhookUrl": "https://hook.example/allocate?****",
        "apiVersion": "2021-10-01",
    }
    assert changed["reprovisionPolicy"] == {"updateHubAssignment": True, "migrateDeviceData": False}
    (again,) = near.ask("enrollment", "update", "cli-01", "--allocation", "hashed", "--hub", near.hostname)
    assert (again["allocationPolicy"], again["iotHubs"]) == ("hashed", [near.hostname])
    assert "goes with" in near.moorage(
        "enrollment", "update", "cli-01", "--webhook", str(url), "--allocation", "static", code=2
    )
    (policy,) = near.ask("linked-hub", "policy", "static")
    assert policy == {"allocationPolicy": "static"}
    (made,) = near.ask("enrollment", "create", "cli-02", "--symmetric-key")
    assert made["allocationPolicy"] == "static"
    near.moorage("linked-hub", "policy", "hashed")


def test_registrations_are_listed_shown_and_forgotten_on_the_command_line(pair: Pair) -> None:
    near, name = pair.near, "state-01"
    pair.enroll("states", allocationPolicy="static", iotHubs=[near.hostname])
    register(near, leaf(name, "states"), name)
    (listed,) = near.ask("registration", "list", "--group", "states")
    (shown,) = near.ask("registration", "show", name)
    assert listed == shown
    assert (shown["status"], shown["assignedHub"], shown["deviceId"]) == ("assigned", near.hostname, name)
    assert name in near.moorage("registration", "list")
    assert near.ask("registration", "list", "--group", "states", "--status", "failed") == []
    near.moorage("registration", "delete", name)
    assert near.ask("registration", "list", "--group", "states") == []
    assert "registration.unknown" in near.moorage("registration", "show", name, code=1)
    assert device_on(near, name) is not None
    deleted = [line for line in near.log_text().splitlines() if "registration.deleted" in line]
    assert deleted and deleted[-1].endswith("by=owner")
