"""A device host keeps the modules of its device over HTTPS, as IoT Edge's identity service does (devices.md 7.2)."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest

from moorage.identities.model import BySharedKey
from moorage.identities.registry import MAX_MODULES
from moorage.ids import DEFAULT_HUB, Secret
from tests import certs
from tests.servers.clients import tls_context
from tests.servers.http_clients import RawHTTP, Response
from tests.servers.world import World, named

VERSION = "?api-version=2017-11-08-preview"
KEYS = {"primaryKey": base64.b64encode(bytes(32)).decode(), "secondaryKey": base64.b64encode(bytes([1] * 32)).decode()}


async def ask(
    world: World,
    method: str,
    path: str,
    body: Any = None,
    *headers: str,
    as_device: str | None = "pump-01",
    key: Secret | None = None,
    issued: certs.Issued | None = None,
) -> Response:
    """As the device, by its token, or by a certificate where `issued` is given."""
    said = [*headers]
    if issued is None and as_device is not None:
        token = world.token(as_device) if key is None else world.token(as_device, key)
        said.append(f"Authorization: {token.decode()}")
    async with RawHTTP(world, tls_context(world.app.info().ca_bundle, issued)) as http:
        http.ask(method, f"{path}{VERSION}", *said, body=b"" if body is None else json.dumps(body).encode())
        return await http.response(to=method)


def document(answer: Response) -> Any:
    assert answer.status == 200, answer
    return json.loads(answer.body)


async def test_the_life_of_a_module_as_the_identity_service_tells_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.create("pump-01")
    caplog.set_level(logging.INFO, "moorage.audit")
    assert document(await ask(world, "GET", "/devices/pump-01/modules")) == []
    path, module = "/devices/pump-01/modules/$edgeAgent", {"moduleId": "$edgeAgent", "deviceId": "pump-01"}
    made = document(await ask(world, "PUT", path, {**module, "managedBy": "IotEdge"}))
    assert (made["moduleId"], made["managedBy"]) == ("$edgeAgent", "IotEdge")
    assert made["generationId"]
    changed = {**module, "authentication": {"symmetricKey": KEYS, "type": "sas"}}
    assert document(await ask(world, "PUT", path, changed, "If-Match: *"))["authentication"]["symmetricKey"] == KEYS
    assert document(await ask(world, "GET", path))["generationId"] == made["generationId"]
    (listed,) = document(await ask(world, "GET", "/devices/pump-01/modules"))
    assert listed["moduleId"] == "$edgeAgent"
    # The key that the host derived is the module's own from now on.
    hello = await ask(world, "GET", path, as_device="pump-01/$edgeAgent", key=Secret(KEYS["primaryKey"]))
    assert hello.status == 401
    gone = await ask(world, "DELETE", path, None, "If-Match: *")
    assert (gone.status, gone.body) == (204, b"")
    assert document(await ask(world, "GET", "/devices/pump-01/modules")) == []
    told = [record.getMessage() for record in caplog.records if "device:pump-01" in record.getMessage()]
    assert len(told) == 3


async def test_a_device_with_a_certificate_keeps_its_modules_too(world: World) -> None:
    issued = await world.create_pinned("pump-01")
    path = "/devices/pump-01/modules/reader"
    body = {"moduleId": "reader", "deviceId": "pump-01", "authentication": {"symmetricKey": KEYS, "type": "sas"}}
    assert document(await ask(world, "PUT", path, body, issued=issued))["moduleId"] == "reader"
    authentication = world.registry.get(DEFAULT_HUB, named("pump-01/reader")).authentication
    assert authentication == BySharedKey(Secret(KEYS["primaryKey"]), Secret(KEYS["secondaryKey"]))
    stranger = await ask(world, "GET", path, issued=certs.self_signed("pump-01", label="other"))
    assert stranger.status == 401
    assert await world.reason("pump-01") == "identity.thumbprint"


async def test_nobody_elses_modules_and_nothing_but_modules(world: World) -> None:
    for name in ("pump-01", "pump-02", "pump-02/reader"):
        await world.create(name)
    before = world.registry.get(DEFAULT_HUB, named("pump-02/reader"))
    bodies: set[bytes] = set()
    for method, path, headers in (
        ("GET", "/devices/pump-02/modules", ()),
        ("GET", "/devices/pump-02/modules/reader", ()),
        ("GET", "/devices/nobody/modules", ()),
        ("GET", "/devices/nobody/modules/reader", ()),
        ("PUT", "/devices/pump-02/modules/writer", ()),
        ("DELETE", "/devices/pump-02/modules/reader", ("If-Match: *",)),
        ("DELETE", "/devices/nobody/modules/reader", ("If-Match: *",)),
    ):
        answer = await ask(world, method, path, {}, *headers)
        assert answer.status == 401, (method, path)
        said = json.loads(answer.body)
        bodies.add(said["message"].encode())
        assert said["errorCode"] == 401002
    # Who exists and who does not look the same (T7).
    assert len(bodies) == 1
    assert world.registry.get(DEFAULT_HUB, named("pump-02/reader")) == before
    for method, path in (
        ("GET", "/devices/pump-01"),
        ("PUT", "/devices/pump-01"),
        ("DELETE", "/devices/pump-01"),
        ("GET", "/devices"),
        ("GET", "/twins/pump-01"),
        ("DELETE", "/devices/pump-01/modules/reader/commands"),
    ):
        answer = await ask(world, method, path, {}, "If-Match: *")
        assert answer.status == 401, (method, path)
        assert (await world.attempts())[0].reason in ("token.policy_missing", "authorization.missing")


@pytest.mark.parametrize("who", ["key", "disabled", "module"])
async def test_the_device_has_to_be_let_in(world: World, who: str) -> None:
    await world.create("pump-01")
    await world.create("pump-01/reader")
    path, key, name, reason = "/devices/pump-01/modules", None, "pump-01", "token.signature"
    if who == "key":
        key = Secret(KEYS["primaryKey"])
    elif who == "disabled":
        await world.set_status("pump-01", "disabled")
        reason = "identity.disabled"
    else:
        # A module's own token is none of its device.
        name, reason = "pump-01/reader", "token.audience"
    for method in ("GET", "PUT"):
        answer = await ask(world, method, path if method == "GET" else f"{path}/new", {}, as_device=name, key=key)
        assert (answer.status, json.loads(answer.body)["errorCode"]) == (401, 401002)
        assert await world.reason("pump-01") == reason


async def test_a_device_says_of_a_module_how_it_logs_in_and_nothing_more(world: World) -> None:
    await world.create("pump-01")
    body = {"moduleId": "m", "status": "disabled", "deviceScope": "ms-azure-iot-edge://x-1", "capabilities": {}}
    made = document(await ask(world, "PUT", "/devices/pump-01/modules/m", body))
    stored = world.registry.get(DEFAULT_HUB, named("pump-01/m"))
    assert (stored.status, stored.device_scope, stored.is_edge) == ("enabled", None, False)
    assert made["authentication"]["type"] == "sas"


async def test_it_has_as_many_as_anybody_may_and_hears_what_is_wrong(world: World) -> None:
    await world.create("pump-01")
    for number in range(MAX_MODULES):
        await world.create(f"pump-01/m{number}")
    full = await ask(world, "PUT", "/devices/pump-01/modules/one-more", {})
    assert "ErrorCode:" in json.loads(full.body)["Message"]
    assert full.status in (403, 413)
    assert full.headers["moorage-reason"] == "module.too_many"
    for method, path, body, status in (
        ("GET", "/devices/pump-01/modules/none", None, 404),
        ("PUT", "/devices/pump-01/modules/m1", {}, 409),
        ("PUT", "/devices/pump-01/modules/bad%20id", {}, 400),
        ("PUT", "/devices/pump-01/modules/m1", {"moduleId": "other"}, 400),
    ):
        answer = await ask(world, method, path, body)
        assert answer.status == status, (method, path, answer)
        assert json.loads(answer.body)["Message"].startswith("ErrorCode:")
