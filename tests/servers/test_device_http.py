"""The HTTPS device API, by the letter: what C, Node and C# send, and what each of them insists on in the answer."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from moorage.dialects.bag import decode_bag
from moorage.hub.messages import MAX_DELIVERIES
from moorage.identities.model import ByAuthority, BySharedKey
from moorage.identities.registry import IdentityDraft
from moorage.ids import DEFAULT_HUB
from moorage.protocols.mqtt.packets import Publish
from tests import certs
from tests.disks import HeldDisk
from tests.servers.clients import tls_context
from tests.servers.http_clients import RawHTTP, Response
from tests.servers.world import KEY, OTHER_KEY, World, eventually, named, running

VERSION = "?api-version=2020-09-30"
BATCH = "Content-Type: application/vnd.microsoft.iothub.json"


@asynccontextmanager
async def device(world: World, issued: certs.Issued | None = None) -> AsyncIterator[RawHTTP]:
    async with RawHTTP(world, tls_context(world.app.info().ca_bundle, issued)) as http:
        yield http


def token(world: World, name: str = "pump-01") -> str:
    return f"Authorization: {world.token(name).decode()}"


async def call(http: RawHTTP, method: str, path: str, *headers: str, body: bytes = b"") -> Response:
    http.ask(method, path, *headers, body=body)
    return await http.response(to=method)


def error(answer: Response) -> tuple[int, str]:
    """Both dialects of the body, which have to agree."""
    document = json.loads(answer.body)
    name = document["Message"].removeprefix("ErrorCode:").partition(";")[0]
    assert document["errorCode"] // 1000 == answer.status
    assert document["trackingId"] in document["ExceptionMessage"]
    assert document["message"] in document["Message"]
    return document["errorCode"], name


# -- telemetry ---------------------------------------------------------------------------------------------------------


async def test_headers_become_properties_and_the_answer_comes_when_it_is_durable(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        answer = await call(
            http,
            "POST",
            f"/devices/pump-01/messages/events{VERSION}",
            token(world),
            "iothub-app-temperatureAlert: true",
            "iothub-app-Site: K%C3%B6ln 7",
            "IoTHub-MessageId: m-1",
            "iothub-correlationid: c-1",
            "iothub-contenttype: application/json",
            "iothub-contentencoding: utf-8",
            "iothub-to: /devices/pump-01/messages/events",
            "dt-subject: pump",
            "iothub-app-iothub-connection-device-id: somebody-else",
            "Content-Type: text/plain",
            body=b'{"t": 21}',
        )
    assert (answer.status, answer.body) == (204, b"")
    (message,) = await world.telemetry()
    bag = decode_bag(message.bag)
    assert message.body == b'{"t": 21}'
    assert bag.properties == {"temperatureAlert": "true", "Site": "K%C3%B6ln 7"}
    assert bag.system == {
        "message-id": "m-1",
        "correlation-id": "c-1",
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "to": "/devices/pump-01/messages/events",
        "dt-subject": "pump",
    }
    assert (message.source.device_id, message.source.message_source) == ("pump-01", "Telemetry")
    assert json.loads(message.source.auth_method)["type"] == "sas"


async def test_a_batch_is_base64_unless_it_says_otherwise(world: World) -> None:
    await world.create("pump-01")
    items = [
        # As Node has it, then as C has it.
        {"body": base64.b64encode(b"\x00\xff").decode(), "properties": {"iothub-app-Site": "7", "dt-subject": "x"}},
        {"body": "21 \u00b0C", "base64Encoded": False, "properties": {"iothub-messageid": "m-2", "plain": 5}},
        {"body": ""},
    ]
    async with device(world) as http:
        answer = await call(
            http,
            "POST",
            f"/Devices/pump-01/Messages/Events/{VERSION}",
            token(world),
            BATCH,
            body=json.dumps(items).encode(),
        )
    assert answer.status == 204
    messages = await world.telemetry()
    assert [message.body for message in messages] == [b"\x00\xff", "21 °C".encode(), b""]
    bags = [decode_bag(message.bag) for message in messages]
    assert bags[0].properties == {"Site": "7"} and bags[0].system == {"dt-subject": "x"}
    assert bags[1].properties == {"plain": "5"} and bags[1].system == {"message-id": "m-2"}


NO_BATCHES: list[tuple[Any, tuple[int, str]]] = [
    ({}, (400004, "ArgumentInvalid")),
    ([], (400004, "ArgumentInvalid")),
    (["text"], (400004, "ArgumentInvalid")),
    ([{"body": 7}], (400004, "ArgumentInvalid")),
    ([{"body": "not base64"}], (400004, "ArgumentInvalid")),
    ([{"body": "", "properties": {"a": {}}}], (400004, "ArgumentInvalid")),
    ([{"body": "", "properties": []}] * 2 + [{"body": "", "properties": ["x"]}], (400004, "ArgumentInvalid")),
    ([{"body": ""}] * 501, (413001, "MessageTooLarge")),
    ([{"body": "x" * 140_000, "base64Encoded": False}] * 2, (413001, "MessageTooLarge")),
]


async def test_a_batch_is_taken_whole_or_not_at_all(world: World) -> None:
    await world.create("pump-01")
    path = f"/devices/pump-01/messages/events{VERSION}"
    for items, code in NO_BATCHES:
        sent = [{"body": ""}, *items] if isinstance(items, list) and 0 < len(items) < 500 else items
        async with device(world) as http:
            answer = await call(http, "POST", path, token(world), BATCH, body=json.dumps(sent).encode())
        assert error(answer) == code, str(items)[:80]
    assert await world.telemetry() == []


async def test_a_message_has_a_limit(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        path = f"/devices/pump-01/messages/events{VERSION}"
        assert (await call(http, "POST", path, token(world), body=b"x" * 256 * 1024)).status == 204
        answer = await call(http, "POST", path, token(world), "iothub-app-a: b", body=b"x" * 256 * 1024)
        assert error(answer) == (413001, "MessageTooLarge")
    assert len(await world.telemetry()) == 1


async def test_the_limit_of_a_batch_is_on_decoded_properties(world: World) -> None:
    await world.create("pump-01")
    # Percent-encoded, as the log has it, this is over the limit.
    items = [{"body": "", "properties": {"name": "ä" * 60_000}}]
    async with device(world) as http:
        path = f"/devices/pump-01/messages/events{VERSION}"
        sent = json.dumps(items, ensure_ascii=False).encode()
        assert (await call(http, "POST", path, token(world), BATCH, body=sent)).status == 204
        items *= 3
        answer = await call(
            http, "POST", path, token(world), BATCH, body=json.dumps(items, ensure_ascii=False).encode()
        )
        assert error(answer) == (413001, "MessageTooLarge")
    assert len(await world.telemetry()) == 1


async def test_a_module_speaks_for_itself(world: World) -> None:
    await world.create("edge-01")
    await world.create("edge-01/camera")
    await world.send("edge-01/camera", b"for the module")
    async with device(world) as http:
        path = "/devices/edge-01/modules/camera/messages"
        credential = token(world, "edge-01/camera")
        assert (await call(http, "POST", f"{path}/events{VERSION}", credential, body=b"x")).status == 204
        answer = await call(http, "GET", f"{path}/deviceBound{VERSION}", credential)
        assert (answer.status, answer.body) == (200, b"for the module")
        # Its key opens itself and nothing else.
        other = await call(http, "POST", f"/devices/edge-01/messages/events{VERSION}", credential, body=b"x")
        assert other.status == 401
    (message,) = await world.telemetry("edge-01")
    assert message.source.module_id == "camera"


async def test_the_answer_waits_for_the_disk_and_a_broken_one_is_503(tmp_path: Path) -> None:
    disk = HeldDisk(tmp_path / "log")
    async with running(tmp_path / "hub", files=disk) as world:
        await world.create("pump-01")
        path = f"/devices/pump-01/messages/events{VERSION}"
        async with device(world) as http, device(world) as other:
            disk.hold()
            http.ask("POST", path, token(world), body=b"kept")
            await eventually(lambda: world.app.log.backlog_bytes > 0)
            # The registry still answers meanwhile: only this request waits.
            assert (await receive(other, token(world))).status == 204
            assert await world.telemetry() == []
            disk.release()
            assert (await http.response()).status == 204
            disk.break_it()
            answer = await call(http, "POST", path, token(world), body=b"lost")
            assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1
            assert error(answer) == (503001, "ServiceUnavailable")
        assert [message.body for message in await world.telemetry()] == [b"kept"]


# -- who is let in -----------------------------------------------------------------------------------------------------


async def test_every_kind_of_certificate_is_as_good_as_a_token(world: World) -> None:
    root = certs.root()
    line = certs.intermediate(root, "Plant Line 7")
    cell = certs.intermediate(line, "Plant Cell 3")
    await world.upload(root)
    await world.create("by-key")
    shown: dict[str, certs.Issued | None] = {"by-key": None, "pinned": await world.create_pinned("pinned")}
    for name, issuer in (("leaf", root), ("deep", cell)):
        await world.create(name, ByAuthority())
        shown[name] = certs.device(issuer, name)
    for name, issued in shown.items():
        await world.send(name, b"hello")
        # C sends the header with nothing in it beside a certificate.
        credential = token(world, name) if issued is None else "Authorization: "
        async with device(world, issued) as http:
            path = f"/devices/{name}/messages"
            assert (await call(http, "POST", f"{path}/events{VERSION}", credential, body=b"x")).status == 204
            received = await call(http, "GET", f"{path}/devicebound{VERSION}", credential)
            assert (received.status, received.body) == (200, b"hello")
            lock = received.headers["etag"].strip('"')
            settled = await call(http, "DELETE", f"{path}/devicebound/{lock}{VERSION}", credential)
            assert settled.status == 204
        (attempt,) = await world.attempts(name)
        assert attempt.is_accepted and attempt.door == "hub.https" and attempt.checks
        assert attempt.credential == ("token" if issued is None else "x509")
        (message,) = await world.telemetry(name)
        assert json.loads(message.source.auth_method)["type"] == ("sas" if issued is None else "x509Certificate")


async def test_a_stranger_hears_one_answer_whoever_he_names(world: World) -> None:
    """T7: that a device exists, or how it logs in, is not told."""
    await world.create("by-key")
    await world.create_pinned("pinned")
    await world.create_by_authority("leaf")
    await world.create("disabled")
    await world.set_status("disabled", "disabled")
    answers = set()
    stranger = certs.self_signed("stranger")
    for issued in (None, stranger):
        async with device(world, issued) as http:
            for name in ("nobody", "by-key", "pinned", "leaf", "disabled"):
                for credential in ("X-None: 1", "Authorization: SharedAccessSignature sr=x&sig=y&se=1", token(world)):
                    path = f"/devices/{name}/messages/events{VERSION}"
                    answer = await call(http, "POST", path, credential, body=b"x")
                    document = json.loads(answer.body)
                    tracking_id = document.pop("trackingId")
                    document.pop("timestampUtc")
                    said = json.dumps(document).replace(tracking_id, "")
                    headers = tuple(sorted((k, v) for k, v in answer.headers.items() if k != "content-length"))
                    answers.add((answer.status, said, headers))
                    (attempt, *_) = await world.attempts(name, 1)
                    assert attempt.tracking_id == tracking_id and attempt.reason
    assert len(answers) == 1, answers
    assert answers.pop()[0] == 401


async def test_the_registered_kind_selects_the_credential(world: World) -> None:
    pinned = await world.create_pinned("pinned")
    await world.create("by-key")
    path = "/devices/{}/messages/events" + VERSION
    async with device(world, pinned) as http:
        # A token beside it is not looked at, and a certificate opens no device with a key.
        assert (await call(http, "POST", path.format("pinned"), token(world, "pinned"), body=b"x")).status == 204
        assert (await call(http, "POST", path.format("by-key"), body=b"x")).status == 401
        assert (await call(http, "POST", path.format("by-key"), token(world, "by-key"), body=b"x")).status == 204
    (attempt,) = await world.attempts("pinned")
    assert attempt.is_accepted and attempt.credential == "x509"


async def test_whoever_is_disabled_between_two_requests_is_kept_out_of_the_second(world: World) -> None:
    issued = await world.create_by_authority("pump-01")
    path = f"/devices/pump-01/messages/events{VERSION}"
    async with device(world, issued) as http:
        assert (await call(http, "POST", path, body=b"x")).status == 204
        await world.set_status("pump-01", "disabled")
        assert (await call(http, "POST", path, body=b"x")).status == 401
        assert await world.reason("pump-01") == "identity.disabled"
        await world.set_status("pump-01", "enabled")
        assert (await call(http, "POST", path, body=b"x")).status == 204
    assert len(await world.telemetry()) == 2


async def test_a_device_that_reports_often_is_written_down_once(world: World) -> None:
    await world.create("pump-01")
    path = f"/devices/pump-01/messages/events{VERSION}"
    async with device(world) as http:
        for _ in range(3):
            assert (await call(http, "POST", path, token(world), body=b"x")).status == 204
        assert len(await world.attempts("pump-01")) == 1
        world.clock.advance(61)
        assert (await call(http, "POST", path, token(world), body=b"x")).status == 204
        assert len(await world.attempts("pump-01")) == 2
    seen = (await world.http.get("/devices/pump-01")).json()
    assert seen["lastActivityTime"].startswith(f"{world.clock.now():%Y-%m-%dT%H:%M}")
    assert seen["connectionState"] == "Disconnected"


# -- messages to devices -----------------------------------------------------------------------------------------------


async def receive(http: RawHTTP, *headers: str, name: str = "pump-01") -> Response:
    return await call(http, "GET", f"/devices/{name}/messages/devicebound{VERSION}", *headers)


async def settle(http: RawHTTP, lock: str, how: str = "", *headers: str, name: str = "pump-01") -> int:
    path = f"/devices/{name}/messages/devicebound/{lock.strip(chr(34))}"
    if how == "abandon":
        answer = await call(http, "POST", f"{path}/abandon{VERSION}", *headers)
    else:
        answer = await call(http, "DELETE", f"{path}{VERSION}{how}", *headers, f"If-Match: {lock}")
    assert answer.status != 204 or answer.body == b""
    return answer.status


async def test_a_message_comes_with_all_that_its_sender_said(world: World) -> None:
    pinned = await world.create_pinned("pump-01")
    async with device(world, pinned) as http:
        empty = await receive(http)
        assert (empty.status, empty.body) == (204, b"")
        sent = await world.send(
            "pump-01",
            b"\x00open",
            properties={"Site": "7", "città": "Köln ", "a b": "50%"},
            message_id="m-1",
            correlation_id="c\r\nx: y",
            content_type="application/json",
            ack="full",
        )
        answer = await receive(http)
        headers = answer.headers
        assert (answer.status, answer.body) == (200, b"\x00open")
        assert headers["etag"].startswith('"') and headers["etag"].endswith('"')
        assert headers["iothub-messageid"] == "m-1"
        assert headers["iothub-correlationid"] == "c%0D%0Ax: y" and "x" not in headers
        assert headers["iothub-contenttype"] == "application/json"
        assert headers["iothub-ack"] == "full"
        assert headers["iothub-sequencenumber"] == str(sent.sequence)
        assert headers["iothub-deliverycount"] == "0"
        assert headers["iothub-app-site"] == "7"
        assert headers["iothub-app-citt%c3%a0"] == "K%C3%B6ln%20"
        assert headers["iothub-app-a%20b"] == "50%25"


@pytest.mark.parametrize(("how", "outcome"), [("", "Success"), ("&reject", "Rejected"), ("&reject=true", "Rejected")])
async def test_a_settled_message_is_gone_and_its_sender_hears_of_it(world: World, how: str, outcome: str) -> None:
    pinned = await world.create_pinned("pump-01")
    await world.send("pump-01", b"open", ack="full")
    async with device(world, pinned) as http:
        lock = (await receive(http)).headers["etag"]
        assert await settle(http, lock, how) == 204
        assert await settle(http, lock, how) == 412
        assert (await receive(http)).status == 204
    assert world.queued("pump-01") == []
    (record,) = (await world.http.get("/messages/serviceBound/feedback")).json()
    assert record["statusCode"] == outcome


async def test_what_is_held_is_not_given_out_twice_until_its_lock_ends(world: World) -> None:
    pinned = await world.create_pinned("pump-01")
    for body in (b"1", b"2"):
        await world.send("pump-01", body)
    async with device(world, pinned) as http:
        first, second = await receive(http), await receive(http, "iothub-messagelocktimeout: 5")
        assert (first.body, second.body) == (b"1", b"2")
        assert (await receive(http)).status == 204
        world.turn(6)
        again = await receive(http)
        assert again.body == b"2" and again.headers["iothub-deliverycount"] == "0"
        assert await settle(http, second.headers["etag"]) == 412
        assert await settle(http, again.headers["etag"]) == 204
        world.turn(61)
        assert await settle(http, first.headers["etag"]) == 412
        assert (await receive(http)).body == b"1"


async def test_an_abandoned_message_comes_again_until_it_is_given_up(world: World) -> None:
    pinned = await world.create_pinned("pump-01")
    await world.send("pump-01", b"open", ack="negative")
    async with device(world, pinned) as http:
        for count in range(MAX_DELIVERIES):
            answer = await receive(http)
            assert answer.headers["iothub-deliverycount"] == str(count)
            assert await settle(http, answer.headers["etag"], "abandon") == 204
        assert (await receive(http)).status == 204
    (record,) = (await world.http.get("/messages/serviceBound/feedback")).json()
    assert record["statusCode"] == "DeliveryCountExceeded"


async def test_a_lock_is_its_holders(world: World) -> None:
    await world.create("pump-01")
    await world.create("pump-02")
    await world.send("pump-01", b"open")
    async with device(world) as http:
        lock = (await receive(http, token(world))).headers["etag"]
        for how in ("", "&reject", "abandon"):
            assert await settle(http, lock, how, token(world, "pump-02"), name="pump-02") == 412
        path = f"/devices/pump-01/messages/devicebound/{lock.strip(chr(34))}{VERSION}"
        other = await call(http, "DELETE", path, token(world), 'If-Match: "another"')
        assert error(other) == (412002, "DeviceMessageLockLost")
        assert await settle(http, lock, "", token(world)) == 204


# -- methods that modules call -----------------------------------------------------------------------------------------


async def calls(
    world: World, http: RawHTTP, caller: str, target: Sequence[str], credential: str | None = None
) -> Response:
    path = "/twins/" + "/modules/".join(target) + f"/methods{VERSION}"
    body = json.dumps({"methodName": "reboot", "payload": {"in": 5}}).encode()
    headers = (credential or token(world, caller), f"x-ms-edge-moduleId: {caller}")
    return await call(http, "POST", path, *headers, body=body)


async def test_a_module_calls_methods_within_its_scope(world: World) -> None:
    now = world.clock.now()
    keys = BySharedKey(KEY, OTHER_KEY)
    edge = await world.registry.create(DEFAULT_HUB, IdentityDraft(named("edge-01"), keys, is_edge=True), now)
    await world.create("edge-01/caller")
    await world.create("edge-01/camera")
    below = IdentityDraft(named("below"), keys, device_scope=edge.device_scope)
    await world.registry.create(DEFAULT_HUB, below, now)
    await world.create("elsewhere")
    listeners = {name: await world.connect(name) for name in ("edge-01/camera", "below", "elsewhere")}
    async with device(world) as http:
        for name in ("edge-01/camera", "below"):
            client = listeners[name]
            await client.subscribe("$iothub/methods/POST/#")
            http.ask(
                "POST",
                f"/twins/{name.replace('/', '/modules/')}/methods{VERSION}",
                token(world, "edge-01/caller"),
                "x-ms-edge-moduleId: edge-01/caller",
                body=b'{"methodName": "reboot", "payload": {"in": 5}}',
            )
            request = await client.expect(Publish)
            assert request.body == b'{"in":5}'
            rid = request.topic.decode().rpartition("$rid=")[2]
            client.publish(f"$iothub/methods/res/200/?$rid={rid}", b'{"ok": true}')
            answer = await http.response()
            assert answer.status == 200 and json.loads(answer.body) == {"status": 200, "payload": {"ok": True}}
        out = await calls(world, http, "edge-01/caller", ["elsewhere"])
        unknown = await calls(world, http, "edge-01/caller", ["nobody"])
        assert error(out) == error(unknown) == (401002, "IotHubUnauthorizedAccess")
        assert out.headers["moorage-reason"] == unknown.headers["moorage-reason"] == "method.scope"
        offline = await calls(world, http, "edge-01/caller", ["edge-01"])
        assert offline.status == 404


async def test_who_names_a_module_is_judged_as_one(world: World) -> None:
    await world.create("edge-01")
    await world.create("edge-01/camera")
    service = f"Authorization: {world.service_token().reveal()}"
    async with device(world) as http:
        for caller, credential in (
            ("edge-01/camera", "X-None: 1"),
            ("edge-01/camera", token(world, "edge-01")),
            ("edge-01/nobody", token(world, "edge-01")),
        ):
            assert (await calls(world, http, caller, ["edge-01"], credential)).status == 401, caller
        for caller in ("edge-01", "", "edge-01/", "a/b/c", "edge 01/camera"):
            assert (await calls(world, http, caller, ["edge-01"], service)).status == 400, caller
        # Without the header it is the service's operation, which takes no module's token.
        path = f"/twins/edge-01/methods{VERSION}"
        own = await call(http, "POST", path, token(world, "edge-01/camera"), body=b"{}")
        assert own.status == 401
        assert (await call(http, "POST", path, service, body=b'{"methodName": "x"}')).status == 404
