"""Somebody else's hub, as a server of the test: what it is asked, and what becomes of each of its answers."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from moorage.adapters.egress import Egress
from moorage.adapters.egress_policy import AllowList
from moorage.adapters.remote_hub import RemoteHub, RemoteHubs
from moorage.clock import HandClock
from moorage.errors import Refusal, Unavailable
from moorage.identities.model import Authentication, BySharedKey, ByThumbprint
from moorage.identities.sas import check_signature, key_bytes, parse_token
from moorage.ids import DEFAULT_HUB, DeviceId, Secret, Thumbprint
from moorage.provisioning.model import Assignment, LinkedHub
from tests.callees import Callee, Received, answer, callee
from tests.certs import NOW

KEY = base64.b64encode(b"k" * 32).decode()
PUMP = DeviceId("pump#01")
PINNED = ByThumbprint(Thumbprint("AB" * 32), None)
SHARED = BySharedKey(Secret(KEY), Secret(base64.b64encode(b"s" * 32).decode()))


class Registry:
    """A hub's registry and twins as its REST has them; `fails` are answers given in place of the next ones."""

    def __init__(self) -> None:
        self.devices: dict[str, Any] = {}
        self.twins: dict[str, Any] = {}
        self.fails: list[tuple[int, bytes]] = []
        self.asked: list[str] = []

    async def __call__(self, received: Received, writer: asyncio.StreamWriter) -> None:
        path, _, query = received.target.partition("?")
        assert query.startswith("api-version=")
        self.asked.append(f"{received.method} {path}")
        status, body = self.fails.pop(0) if self.fails else self._answer(received, path)
        await answer(status, body)(received, writer)

    def _answer(self, received: Received, path: str) -> tuple[int, bytes]:
        _, collection, *rest = path.split("/")
        name = rest[0] if rest else ""
        held = self.devices if collection == "devices" else self.twins
        document: Any = json.loads(received.body) if received.body else {}
        if not name:
            return 200, b"[]"
        if received.method == "GET":
            return (200, json.dumps(held[name]).encode()) if name in held else (404, b"{}")
        if received.method == "DELETE":
            self.twins.pop(name, None)
            return (204, b"") if held.pop(name, None) else (404, b"{}")
        if collection == "devices":
            if name in held and "if-match" not in received.headers:
                return 409, b"{}"
            self.twins.setdefault(name, {"tags": {}, "properties": {"desired": {"$version": 1}}})
            held[name] = document
            return 200, json.dumps(document).encode()
        if received.method == "PUT":
            held[name] = {"tags": {}, "properties": {"desired": {}}}
        held[name]["tags"] |= document["tags"]
        held[name]["properties"]["desired"] |= document["properties"]["desired"]
        return 200, json.dumps(held[name]).encode()

    @property
    def device(self) -> Any:
        return self.devices["pump%2301"]

    @property
    def twin(self) -> Any:
        return self.twins["pump%2301"]


def remote(server: Callee, clock: HandClock | None = None) -> RemoteHub:
    text = Secret(f"HostName={server.host}:{server.port};SharedAccessKeyName=provisioning;SharedAccessKey={KEY}")
    linked = LinkedHub(DEFAULT_HUB, server.host, text, "", 1, True, 1, NOW, NOW)
    egress = Egress(AllowList.of(["127.0.0.0/8"]), ca_bundle=server.ca_bundle)
    return RemoteHubs(egress, clock or HandClock(NOW))(linked)


async def assign(hub: RemoteHub, authentication: Authentication = PINNED, **more: Any) -> Assignment:
    data = {"reset_data": False, "tags": {"a": 1}, "desired": {"n": 2}, "is_edge": False, **more}
    return await hub.assign("localhost", PUMP, authentication, **data)


async def refused(call: Any) -> Refusal:
    with pytest.raises(Refusal) as raised:
        await call
    assert KEY not in str(raised.value)
    return raised.value


async def test_a_device_is_made_with_its_twin_by_the_policy_of_the_connection_string() -> None:
    registry = Registry()
    async with callee(registry) as server:
        assert await assign(remote(server)) == Assignment(PUMP, True)
    assert registry.device == {
        "deviceId": "pump#01",
        "status": "enabled",
        "authentication": {
            "type": "selfSigned",
            "x509Thumbprint": {"primaryThumbprint": "AB" * 32, "secondaryThumbprint": None},
        },
        "capabilities": {"iotEdge": False},
    }
    assert registry.twin["tags"] == {"a": 1} and registry.twin["properties"]["desired"]["n"] == 2
    assert registry.asked == ["GET /devices/pump%2301", "PUT /devices/pump%2301", "PATCH /twins/pump%2301"]
    for received in server.received:
        token = parse_token(received.headers["authorization"])
        check_signature(token, [key_bytes(Secret(KEY))], "the policy")
        assert (token.resource, token.policy) == ("localhost", "provisioning")
        assert 0 < (token.expires - NOW).total_seconds() <= 300


async def test_what_is_as_it_should_be_is_not_written_again() -> None:
    registry = Registry()
    async with callee(registry) as server:
        hub = remote(server)
        for authentication in (PINNED, SHARED):
            await assign(hub, authentication)
            # Hubs add empty members of the kinds that a device does not have.
            registry.device["authentication"] |= {"symmetricKey": registry.device["authentication"].get("symmetricKey")}
            registry.device["etag"] = "AAAA"
            registry.asked.clear()
            assert await assign(hub, authentication) == Assignment(PUMP, False)
            assert registry.asked == ["GET /devices/pump%2301"]
            assert await assign(hub, authentication, reset_data=True) == Assignment(PUMP, False)
            assert not any(line.startswith(("PUT", "PATCH")) for line in registry.asked)


async def test_another_credential_replaces_the_one_before_and_nothing_else() -> None:
    registry = Registry()
    async with callee(registry) as server:
        hub = remote(server)
        await assign(hub, SHARED)
        registry.device.update(etag="AAAA", status="disabled", statusReason="stolen", deviceScope="x")
        await assign(hub, PINNED, tags={"other": 1})
    assert registry.device["authentication"]["type"] == "selfSigned"
    kept = {name: registry.device[name] for name in ("status", "statusReason", "deviceScope")}
    assert kept == {"status": "disabled", "statusReason": "stolen", "deviceScope": "x"}
    assert registry.twin["tags"] == {"a": 1}


async def test_a_reset_replaces_the_twin_and_a_disabled_device_is_disabled() -> None:
    registry = Registry()
    async with callee(registry) as server:
        hub = remote(server)
        await assign(hub)
        await assign(hub, tags={"b": 1}, desired={}, reset_data=True, is_disabled=True)
        assert registry.twin == {"tags": {"b": 1}, "properties": {"desired": {}}}
        assert await hub.data(PUMP) == ({"b": 1}, {}, True)
        await hub.remove(PUMP)
        await hub.remove(PUMP)
        assert await hub.data(PUMP) is None
    assert registry.devices == {}


async def test_a_device_that_somebody_made_meanwhile_is_given_the_credential() -> None:
    registry = Registry()
    async with callee(registry) as server:
        hub = remote(server)
        await assign(hub, SHARED)
        registry.fails = [(404, b"{}")]
        assert await assign(hub) == Assignment(PUMP, False)
    assert registry.device["authentication"]["type"] == "selfSigned"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_passes_is_told_apart(status: int) -> None:
    registry = Registry()
    async with callee(registry) as server:
        registry.fails = [(status, b"")]
        no = await refused(assign(remote(server)))
    assert (type(no), no.reason) == (Unavailable, "linked_hub.unavailable")


@pytest.mark.parametrize(
    ("status", "body"),
    [(400, b""), (401, b"no"), (403, b"quota"), (418, b""), (200, b"not json"), (200, b"[]"), (200, b"[" * 5000)],
)
async def test_what_is_no_answer_is_refused_without_repeating_it(status: int, body: bytes) -> None:
    registry = Registry()
    async with callee(registry) as server:
        registry.fails = [(status, body)]
        no = await refused(assign(remote(server)))
    assert no.reason == "linked_hub.refused" and not isinstance(no, Unavailable)
    assert "quota" not in no.message
    assert (no.fix != "") == (status in (401, 403))


async def test_a_check_asks_for_something_harmless() -> None:
    registry = Registry()
    async with callee(registry) as server:
        await remote(server).check()
        assert registry.asked == ["GET /devices"]
        registry.fails = [(401, b"")]
        assert (await refused(remote(server).check())).reason == "linked_hub.refused"


async def test_one_hub_is_asked_by_so_many_at_once() -> None:
    most = now = 0
    registry, full = Registry(), asyncio.Event()

    async def count(received: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        if now == 16:
            full.set()
        async with asyncio.timeout(30):
            await full.wait()
        now -= 1
        await registry(received, writer)

    async with callee(count) as server:
        hub = remote(server)
        await asyncio.gather(*(hub.data(PUMP) for _ in range(40)))
    assert most == 16
