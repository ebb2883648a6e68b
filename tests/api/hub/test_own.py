"""Our own API: messages to devices, telemetry by page and by stream, attempts, and its description."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from starlette.types import ASGIApp

from moorage.attempts.model import Attempt
from moorage.dialects.attempts_json import attempt_json
from moorage.errors import Check
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName, ModuleId
from tests import certs
from tests.api.hub.world import NOW, ApiWorld

PATIENCE_S = 30.0
SEND = "/moorage/v1/devices/pump-01/messages/devicebound"
KEYS = {
    "deviceId",
    "moduleId",
    "partition",
    "sequenceNumber",
    "offset",
    "enqueuedTime",
    "systemProperties",
    "properties",
}


async def test_a_message_is_queued_with_all_its_properties(world: ApiWorld) -> None:
    await world.device("pump-01")
    body = {
        "body": {"open": True},
        "properties": {"key": "välue/1"},
        "messageId": "m-1",
        "correlationId": "c-1",
        "expiryTimeUtc": "2030-01-01T13:00:00Z",
        "ack": "full",
    }
    sent = await world.ask("POST", SEND, body, policy="owner")
    assert sent.status_code == 201
    assert sent.json()["messageId"] == "m-1"
    assert sent.json()["expiryTimeUtc"] == "2030-01-01T13:00:00.0000000Z"
    (message,) = world.messages.waiting(DEFAULT_HUB, IdentityName(DeviceId("pump-01")))
    assert (message.body, message.content_type, message.ack) == (b'{"open":true}', "application/json", "full")
    assert (dict(message.properties), message.correlation_id) == ({"key": "välue/1"}, "c-1")
    assert [event.kind for event in world.events if event.subject == "pump-01"][-1] == "message.enqueued"


async def test_a_module_has_a_queue_of_its_own(world: ApiWorld) -> None:
    await world.device("pump-01")
    await world.ask("PUT", "/devices/pump-01/modules/camera", {})
    path = "/moorage/v1/devices/pump-01/modules/camera/messages/devicebound"
    assert (await world.ask("POST", path, {"bodyBase64": "AP8="}, policy="owner")).status_code == 201
    camera = IdentityName(DeviceId("pump-01"), ModuleId("camera"))
    assert [message.body for message in world.messages.waiting(DEFAULT_HUB, camera)] == [b"\x00\xff"]
    assert world.messages.count(DEFAULT_HUB, IdentityName(DeviceId("pump-01"))) == 0


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"properties": {"a": ""}}, 400, "message.property"),
        ({"properties": {"a": None}}, 400, "message.property"),
        ({"properties": {"": "a"}}, 400, "message.property"),
        ({"properties": {"$.mid": "a"}}, 400, "message.property"),
        ({"properties": []}, 400, "body.member"),
        ({"properties": ["a"]}, 400, "body.member"),
        ({"expiryTimeUtc": "2029-01-01T00:00:00Z"}, 400, "message.expiry"),
        ({"expiryTimeUtc": "2030-01-03T12:00:01Z"}, 400, "message.expiry"),
        ({"expiryTimeUtc": "tomorrow"}, 400, "time.malformed"),
        ({"messageId": "x" * 129}, 400, "message.id"),
        ({"ack": "later"}, 400, "body.member"),
        ({"ack": ["none"]}, 400, "body.member"),
        ({"text": "hello"}, 400, "body.member"),
        ({"body": "a", "bodyBase64": "YQ=="}, 400, "body.member"),
        ({"bodyBase64": "Y"}, 400, "body.member"),
        ({"body": "x" * 65537}, 413, "message.size"),
        ({"body": "x" * 300_000}, 413, "body.size"),
        ({"properties": {"a": "%" * 30_000}}, 413, "message.bag"),
    ],
)
async def test_a_message_that_no_device_could_read_is_refused(
    world: ApiWorld, body: Any, status: int, reason: str
) -> None:
    await world.device("pump-01")
    refused = await world.ask("POST", SEND, body, policy="owner")
    assert (refused.status_code, refused.json()["error"]["reason"]) == (status, reason)
    assert world.messages.count(DEFAULT_HUB, IdentityName(DeviceId("pump-01"))) == 0


async def test_the_fifty_first_message_is_refused_until_the_others_expire(world: ApiWorld) -> None:
    await world.device("pump-01")
    for _ in range(50):
        assert (await world.ask("POST", SEND, {"body": "x"}, policy="owner")).status_code == 201
    full = await world.ask("POST", SEND, {"body": "x"}, policy="owner")
    assert (full.status_code, full.headers["iothub-errorcode"]) == (403, "DeviceMaximumQueueDepthExceeded")
    world.clock.advance(3601)
    assert (await world.ask("POST", SEND, {"body": "x"}, policy="owner")).status_code == 201


async def test_a_page_of_telemetry_has_exactly_the_documented_keys(world: ApiWorld) -> None:
    await world.send("pump-01", b'{"t":20.5}', b"%24.ct=application%2Fjson&%24.mid=m-1&site=north", model_id="dtmi:a;1")
    await world.send("pump-01", b"\xff\x00", b"empty=&null", module_id="camera")
    page = (await world.ask("GET", "/moorage/v1/telemetry", policy="owner")).json()
    first, second = page["messages"]
    assert set(first) == KEYS | {"body"}
    assert set(second) == KEYS | {"bodyBase64"}
    assert (first["deviceId"], first["moduleId"], first["body"]) == ("pump-01", None, {"t": 20.5})
    assert first["properties"] == {"site": "north"}
    assert first["enqueuedTime"] == "2030-01-01T12:00:00.0000000Z"
    assert first["systemProperties"]["message-id"] == "m-1"
    assert first["systemProperties"]["iothub-connection-device-id"] == "pump-01"
    assert first["systemProperties"]["dt-dataschema"] == "dtmi:a;1"
    assert (second["moduleId"], base64.b64decode(second["bodyBase64"])) == ("camera", b"\xff\x00")
    assert second["properties"] == {"empty": "", "null": None}
    assert page["atEnd"] is True


async def test_telemetry_is_read_on_from_where_a_page_ended(world: ApiWorld) -> None:
    for number in range(5):
        await world.send("pump-01", str(number).encode())
        await world.send("valve-01", b"other")
    seen: list[bytes] = []
    offset = 0
    while True:
        query = f"/moorage/v1/telemetry?device=pump-01&limit=2&offset={offset}"
        page = (await world.ask("GET", query, policy="owner")).json()
        seen += [base64.b64decode(message["bodyBase64"]) for message in page["messages"]]
        offset = page["nextOffset"]
        if page["atEnd"]:
            break
    assert seen == [b"0", b"1", b"2", b"3", b"4"]


async def test_telemetry_from_a_time_on(world: ApiWorld) -> None:
    await world.send("pump-01", b"old")
    world.clock.advance(60)
    await world.send("pump-01", b"new")
    for start, bodies in (("2030-01-01T12:00:30Z", [b"new"]), ("start", [b"old", b"new"]), ("now", [])):
        page = (await world.ask("GET", f"/moorage/v1/telemetry?from={start}", policy="owner")).json()
        assert [base64.b64decode(message["bodyBase64"]) for message in page["messages"]] == bodies


@pytest.mark.parametrize(
    "query", ["partition=99", "partition=x", "from=yesterday", "limit=0", "sequence=-1", "device=a/b", "offset=1e3"]
)
async def test_a_query_that_makes_no_sense_is_400_also_for_a_stream(world: ApiWorld, query: str) -> None:
    refused = await world.ask("GET", f"/moorage/v1/telemetry?{query}", policy="owner")
    assert refused.status_code == 400, refused.text
    if query.split("=")[0] in ("partition", "from", "device"):
        assert (await world.ask("GET", f"/moorage/v1/telemetry/stream?{query}", policy="owner")).status_code == 400


async def test_partitions_tell_what_they_hold(world: ApiWorld) -> None:
    await world.send("pump-01", b"a")
    answer = (await world.ask("GET", "/moorage/v1/telemetry/partitions", policy="owner")).json()
    states = answer["partitions"]
    assert [state["partition"] for state in states] == [0, 1, 2, 3]
    (held,) = [state for state in states if not state["isEmpty"]]
    assert (held["beginSequenceNumber"], held["lastSequenceNumber"]) == (0, 0)
    assert held["lastEnqueuedTime"] == "2030-01-01T12:00:00.0000000Z"


class Stream:
    """A follower: httpx's ASGI transport waits for the end of an answer, and a stream has none."""

    def __init__(self, world: ApiWorld, query: str, headers: dict[str, str] | None = None) -> None:
        self._app: ASGIApp = world.client._transport.app  # type: ignore[attr-defined] # no public way to it
        sent = {"authorization": world.bearer(), **(headers or {})}
        self._scope = {
            "type": "http",
            "method": "GET",
            "path": "/moorage/v1/telemetry/stream",
            "raw_path": b"/moorage/v1/telemetry/stream",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "client": ("192.0.2.7", 1),
            "server": ("hub.example", 443),
            "scheme": "https",
        }
        self._gone = asyncio.Event()
        self._sent: asyncio.Queue[Any] = asyncio.Queue()
        self._text = ""

    async def __aenter__(self) -> Stream:
        self._task = asyncio.ensure_future(self._app(self._scope, self._receive, self._sent.put))
        start = await asyncio.wait_for(self._sent.get(), PATIENCE_S)
        self.status = start["status"]
        self.headers = dict(start["headers"])
        return self

    async def __aexit__(self, *error: object) -> None:
        self._gone.set()
        await asyncio.wait_for(self._task, PATIENCE_S)

    async def _receive(self) -> Any:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def part(self) -> bytes:
        """The next bytes that are sent."""
        return bytes((await asyncio.wait_for(self._sent.get(), PATIENCE_S))["body"])

    async def events(self) -> AsyncIterator[tuple[str, Any]]:
        """(id, data) of each message."""
        while True:
            while "\n\n" not in self._text:
                part = await asyncio.wait_for(self._sent.get(), PATIENCE_S)
                self._text += part["body"].decode()
            event, self._text = self._text.split("\n\n", 1)
            fields = dict(line.split(": ", 1) for line in event.splitlines() if not line.startswith(":"))
            if fields.get("event") == "message":
                yield fields["id"], json.loads(fields["data"])

    async def take(self, count: int) -> list[tuple[str, Any]]:
        taken: list[tuple[str, Any]] = []
        async for event in self.events():
            taken.append(event)
            if len(taken) == count:
                break
        return taken


async def test_a_stream_gives_what_is_stored_and_then_what_arrives(world: ApiWorld) -> None:
    await world.send("pump-01", b"1")
    async with Stream(world, "from=start&device=pump-01") as stream:
        assert (stream.status, stream.headers[b"content-type"]) == (200, b"text/event-stream; charset=utf-8")
        ((_, first),) = await stream.take(1)
        await world.send("valve-01", b"other")
        await world.send("pump-01", b"2")
        ((_, second),) = await stream.take(1)
    assert [base64.b64decode(each["bodyBase64"]) for each in (first, second)] == [b"1", b"2"]
    assert set(first) == KEYS | {"bodyBase64"}


async def test_a_stream_from_now_leaves_out_what_was(world: ApiWorld) -> None:
    await world.send("pump-01", b"old")
    async with Stream(world, "from=now") as stream:
        await world.send("pump-01", b"new")
        ((_, only),) = await stream.take(1)
    assert base64.b64decode(only["bodyBase64"]) == b"new"


async def test_a_stream_resumed_by_its_last_event_id_misses_none_and_repeats_none(world: ApiWorld) -> None:
    for number in range(4):
        await world.send("pump-01", str(number).encode())
    async with Stream(world, "from=start") as stream:
        last_id = (await stream.take(2))[-1][0]
    async with Stream(world, "from=start", {"last-event-id": last_id}) as stream:
        rest = await stream.take(2)
    assert [base64.b64decode(data["bodyBase64"]) for _, data in rest] == [b"2", b"3"]


async def test_a_stream_ends_in_order_when_the_log_closes(world: ApiWorld) -> None:
    async with Stream(world, "from=now") as stream:
        await stream.part()
        await world.log.close()
        event, data, *_ = (await stream.part()).split(b"\n")
    assert event == b"event: ended"
    assert json.loads(data.removeprefix(b"data: ")) == {"reason": "log.closed", "message": ANY}


async def test_a_stream_tells_of_damage_and_goes_on_behind_it(world: ApiWorld, tmp_path: Path) -> None:
    for text in (b"first", b"second", b"third"):
        await world.send("pump-01", text)
    (segment,) = [path for path in (tmp_path / "telemetry").iterdir() if b"second" in path.read_bytes()]
    segment.write_bytes(segment.read_bytes().replace(b"second", b"s3cond"))
    async with Stream(world, "from=start") as stream:
        kinds: list[str] = []
        while len(kinds) < 3:
            kinds += re.findall(r"^event: (\w+)$", (await stream.part()).decode(), re.MULTILINE)
    assert kinds == ["message", "damaged", "message"]


async def test_only_so_many_may_follow_at_once_and_leaving_makes_room(world: ApiWorld) -> None:
    streams = [Stream(world, "from=now") for _ in range(64)]
    for stream in streams:
        await stream.__aenter__()
    async with Stream(world, "from=now") as refused:
        assert (refused.status, refused.headers[b"retry-after"]) == (429, b"30")
    for stream in streams:
        await stream.__aexit__()
    async with Stream(world, "from=now") as admitted:
        assert admitted.status == 200


async def test_attempts_show_the_chain_the_checks_and_the_reason(world: ApiWorld) -> None:
    chain = certs.root("Unknown Root").sends()
    world.attempts.record(
        Attempt(
            at=NOW + timedelta(seconds=1),
            hub=DEFAULT_HUB,
            door="hub.mqtt",
            tracking_id="ABC",
            address="192.0.2.1:5",
            claimed_id="pump-01",
            chain=(*chain.certificates, b"no certificate"),
            credential="x509",
            reason="chain.untrusted",
            message="complete, but ends in a CA nobody registered here",
            fix="moorage ca add FILE",
            checks=(Check("chain.dates", True), Check("chain.untrusted", False, "CN=Unknown Root")),
        )
    )
    for query in ("device=pump-01", "tracking=ABC", f"thumbprint={chain.leaf_sha1()}", ""):
        answer = await world.ask("GET", f"/moorage/v1/attempts?{query}", policy="owner")
        (attempt,) = answer.json()["attempts"]
        assert (attempt["reason"], attempt["accepted"], attempt["fix"]) == (
            "chain.untrusted",
            False,
            "moorage ca add FILE",
        )
        assert attempt["checks"][1] == {"name": "chain.untrusted", "passed": False, "detail": "CN=Unknown Root"}
        assert attempt["chain"][0]["subject"] == "CN=Unknown Root"
        assert attempt["chain"][0]["sha1Thumbprint"] == chain.leaf_sha1()
        assert "unreadable" in attempt["chain"][1]
    other = await world.ask("GET", "/moorage/v1/attempts?device=valve-01", policy="owner")
    assert other.json() == {"attempts": []}
    wrong = await world.ask("GET", "/moorage/v1/attempts?thumbprint=xyz", policy="owner")
    assert (wrong.status_code, wrong.json()["error"]["reason"]) == (400, "thumbprint.hex")


async def test_attempts_of_a_device_are_found_by_the_certificate_that_names_it_when_nobody_came_as_it(
    world: ApiWorld,
) -> None:
    def record(claimed_id: str, tracking_id: str, chain: tuple[bytes, ...]) -> None:
        world.attempts.record(
            Attempt(
                at=NOW,
                hub=DEFAULT_HUB,
                door="hub.mqtt",
                tracking_id=tracking_id,
                address=f"192.0.2.{len(tracking_id)}:5",
                claimed_id=claimed_id,
                chain=chain,
                reason="identity.mismatch",
            )
        )

    async def found(device: str) -> list[str]:
        answer = await world.ask("GET", f"/moorage/v1/attempts?device={device}", policy="owner")
        return [attempt["trackingId"] for attempt in answer.json()["attempts"]]

    plant = certs.root("pump-0")
    record("pump-02", "A", certs.device(plant, "pump-01").sends().certificates)
    record("pump-03", "AB", (b"pump-01 is no certificate",))
    record("pump-04", "ABC", ())
    assert await found("pump-01") == ["A"]
    assert await found("pump-0") == []
    record("pump-01", "ABCD", ())
    assert await found("pump-01") == ["ABCD"]


async def test_env_has_exactly_the_documented_keys(world: ApiWorld) -> None:
    assert set((await world.ask("GET", "/moorage/v1/env", policy="owner")).json()) == {
        "IOTHUB_HOSTNAME",
        "IOTHUB_CONNECTION_STRING",
        "DPS_ENDPOINT",
        "DPS_ID_SCOPE",
        "DPS_CONNECTION_STRING",
        "EVENTHUB_CONNECTION_STRING",
        "CA_BUNDLE",
        "WEB_URL",
    }


async def test_listing_attempts_leaves_the_loop_to_devices(world: ApiWorld) -> None:
    """A chain is as long as its sender likes, and every certificate of it is read to be shown."""
    issuer = certs.root()
    for number in range(8):
        issuer = certs.intermediate(issuer, f"Line {number}")
    sent = certs.device(issuer).sends().certificates
    for number in range(400):
        attempt = Attempt(
            at=NOW,
            hub=DEFAULT_HUB,
            door="hub.mqtt",
            tracking_id=f"{number:032X}",
            address=f"10.0.{number // 200}.{number % 200}:40000",
            claimed_id=f"pump-{number}",
            chain=sent,
            reason="chain.untrusted",
        )
        world.attempts.record(attempt)
    await world.attempts.flush()
    began = time.thread_time()
    for _ in range(400):
        attempt_json(attempt)
    reading_all = time.thread_time() - began
    began = time.thread_time()
    answer = await world.ask("GET", "/moorage/v1/attempts?limit=1000", policy="owner")
    on_the_loop = time.thread_time() - began
    assert len(answer.json()["attempts"]) == 400
    assert on_the_loop < reading_all / 2


async def test_policies_are_listed_with_their_keys(world: ApiWorld) -> None:
    policies = (await world.ask("GET", "/moorage/v1/policies", policy="owner")).json()
    (service,) = [policy for policy in policies["hub"] if policy["name"] == "service"]
    assert service["rights"] == ["ServiceConnect"]
    assert service["primaryKey"] == world.policy("service").primary.reveal()
    assert [policy["name"] for policy in policies["dps"]] == ["provisioningserviceowner"]


async def test_readiness_says_what_is_waited_for(world: ApiWorld) -> None:
    assert (await world.ask("GET", "/healthz", policy=None)).json() == {"status": "alive"}
    assert (await world.ask("GET", "/readyz", policy=None)).status_code == 200
    world.waiting_for = "log.disk_full: no space"
    waiting = await world.ask("GET", "/readyz", policy=None)
    assert (waiting.status_code, waiting.json()["reason"]) == (503, "log.disk_full: no space")
