"""Twins and direct methods on the wire, letter by letter (contract devices 2.8, 2.9)."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from moorage.ids import DEFAULT_HUB
from moorage.protocols.mqtt.packets import PingReq, PingResp, PubAck, Publish
from tests.servers.clients import Client
from tests.servers.world import World, named

TWIN = "$iothub/twin/res/#"
DESIRED = "$iothub/twin/PATCH/properties/desired/#"
METHODS = "$iothub/methods/POST/#"
GET = "$iothub/twin/GET/?$rid="
REPORT = "$iothub/twin/PATCH/properties/reported/?$rid="


@pytest.fixture
async def client(pump: World) -> Client:
    client = await pump.connect()
    await client.subscribe(TWIN, DESIRED, METHODS, qos=0)
    return client


# --- twins -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b" ", b"whatever"])
async def test_a_twin_is_answered_with_both_sections_and_their_versions(client: Client, body: bytes) -> None:
    client.publish(GET + "a-1", body, qos=0)
    answer = await client.expect(Publish)
    assert answer.topic == b"$iothub/twin/res/200/?$rid=a-1"
    assert json.loads(answer.body) == {"desired": {"$version": 1}, "reported": {"$version": 1}}


async def test_a_report_is_answered_204_with_its_new_version_and_no_body(client: Client, pump: World) -> None:
    packet_id = client.publish(REPORT + "7", b'{"a": {"b": [1, 2.5, true]}, "gone": null}')
    answers = [await client.next(), await client.next()]
    assert answers[0] == PubAck(packet_id)
    answer = answers[1]
    assert isinstance(answer, Publish)
    assert (answer.topic, answer.body) == (b"$iothub/twin/res/204/?$rid=7&$version=2", b"")
    client.publish(GET + "8")
    await client.acks(1)
    twin = json.loads((await client.expect(Publish)).body)
    assert twin["reported"] == {"a": {"b": [1, 2.5, True]}, "$version": 2}


async def test_a_conditional_report_is_refused_when_the_version_is_another(client: Client) -> None:
    client.publish(REPORT + "1&$version=9", b'{"a": 1}', qos=0)
    answer = await client.expect(Publish)
    assert answer.topic == b"$iothub/twin/res/412/?$rid=1"
    assert set(json.loads(answer.body)) == {"errorCode", "trackingId", "message", "timestampUtc"}
    client.publish(REPORT + "2&$version=1", b'{"a": 1}', qos=0)
    assert (await client.expect(Publish)).topic == b"$iothub/twin/res/204/?$rid=2&$version=2"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", 400),
        (b"[1]", 400),
        (b'{"a.b": 1}', 400),
        (b'{"a": NaN}', 400),
        (b'{"a": "\xff"}', 400),
        (b"", 400),
        (b'{"a": "' + b"x" * 4097 + b'"}', 400),
        (json.dumps({f"k{number}": "x" * 4000 for number in range(9)}).encode(), 413),
        (b"{" * 5000, 400),
    ],
)
async def test_a_report_that_breaks_a_rule_is_answered_with_an_error_that_node_understands(
    client: Client, body: bytes, status: int
) -> None:
    client.publish(REPORT + "e", body)
    await client.acks(1)
    answer = await client.expect(Publish)
    assert answer.topic == f"$iothub/twin/res/{status}/?$rid=e".encode()
    error = json.loads(answer.body)
    assert error["errorCode"] // 1000 == status
    assert error["message"]
    client.say(PingReq())
    assert await client.next() == PingResp()


async def test_a_desired_patch_is_pushed_as_it_was_sent_nulls_included(client: Client, pump: World) -> None:
    await pump.set_desired("pump-01", {"speed": 3, "mode": {"a": 1}})
    await pump.set_desired("pump-01", {"speed": None})
    first, second = await client.expect(Publish), await client.expect(Publish)
    assert first.topic == b"$iothub/twin/PATCH/properties/desired/?$version=2"
    assert json.loads(first.body) == {"speed": 3, "mode": {"a": 1}, "$version": 2}
    assert second.topic == b"$iothub/twin/PATCH/properties/desired/?$version=3"
    assert json.loads(second.body) == {"speed": None, "$version": 3}


async def test_answers_come_only_to_those_who_subscribed(pump: World) -> None:
    client = await pump.connect()
    assert client.publish(GET + "1") == 1
    assert await client.acks(1) == [1]
    await pump.set_desired("pump-01", {"speed": 3})
    assert await client.is_silent(0.05)


async def test_who_asks_for_a_certificate_is_told_that_none_is_issued_and_stays(client: Client) -> None:
    """devices.md 2.10: preview SDKs subscribe to this filter and would be cut for it."""
    await client.subscribe("$iothub/credentials/res/#", qos=1)
    packet_id = client.publish("$iothub/credentials/POST/issueCertificate/?$rid=ab-1", b'{"id": "pump-01"}')
    assert await client.acks(1) == [packet_id]
    answer = await client.expect(Publish)
    assert answer.topic == b"$iothub/credentials/res/403/?$rid=ab-1"
    assert json.loads(answer.body)["errorCode"] == 403010
    client.say(PingReq())
    await client.expect(PingResp)


async def test_answers_have_the_qos_that_was_granted(pump: World) -> None:
    client = await pump.connect()
    await client.subscribe(TWIN, qos=1)
    client.publish(GET + "1", qos=0)
    answer = await client.expect(Publish)
    assert (answer.qos, answer.packet_id > 0) == (1, True)


async def test_a_module_has_a_twin_of_its_own(pump: World) -> None:
    await pump.create("pump-01/vision")
    client = await pump.connect("pump-01/vision")
    await client.subscribe(TWIN)
    client.publish(REPORT + "1", b'{"lens": "wide"}', qos=0)
    await client.expect(Publish)
    assert pump.twins.get(DEFAULT_HUB, named("pump-01/vision")).reported.value == {"lens": "wide"}
    assert pump.twins.get(DEFAULT_HUB, named("pump-01")).reported.value == {}


async def test_a_hundred_reports_at_once_are_applied_in_order(client: Client, pump: World) -> None:
    """More than the hub works on at a time: the rest waits its turn."""
    for number in range(100):
        client.publish(f"{REPORT}{number}", b'{"last": %d}' % number, qos=0)
    answers = [await client.expect(Publish) for _ in range(100)]
    assert [answer.topic for answer in answers] == [
        b"$iothub/twin/res/204/?$rid=%d&$version=%d" % (number, number + 2) for number in range(100)
    ]
    assert pump.twins.get(DEFAULT_HUB, named("pump-01")).reported.value == {"last": 99}


@contextmanager
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def test_thousands_of_reads_in_one_piece_are_answered_and_others_go_on_meanwhile(pump: World) -> None:
    await pump.create("pump-02")
    await pump.set_desired("pump-01", {f"k{number}": "x" * 3000 for number in range(8)})
    greedy, other = await pump.connect(), await pump.connect("pump-02")
    await greedy.subscribe(TWIN, qos=0)
    count = 2000
    topic = (GET + "1").encode()
    greedy.raw((b"\x30" + bytes((len(topic) + 2,)) + len(topic).to_bytes(2, "big") + topic) * count)
    # Processor time of the loop's thread, so that neither other processes nor the collector count.
    spent, slowest = time.thread_time, 0.0

    async def read_on() -> None:
        for _ in range(count):
            await greedy.expect(Publish)

    with collector_off():
        started = spent()
        reading = asyncio.ensure_future(read_on())
        while not reading.done():
            began = spent()
            other.say(PingReq())
            assert await other.next() == PingResp()
            slowest = max(slowest, spent() - began)
            await asyncio.sleep(0.005)
        await reading
        whole = spent() - started
    # It is a sixteenth; answered at once they would hold the loop for half of what all of it takes.
    assert slowest < whole / 4, (slowest, whole)


# --- methods ---------------------------------------------------------------------------------------------------------


async def call(world: World, method: str = "reboot", device: str = "pump-01", **more: Any) -> Any:
    return await world.http.post(f"/twins/{device}/methods", json={"methodName": method, **more})


async def test_a_method_reaches_the_device_and_its_answer_the_caller(client: Client, pump: World) -> None:
    calling = asyncio.ensure_future(call(pump, payload={"in": [1, None]}))
    request = await client.expect(Publish)
    prefix, rid = request.topic.decode().split("/?$rid=")
    assert prefix == "$iothub/methods/POST/reboot"
    assert rid.isalnum()
    assert json.loads(request.body) == {"in": [1, None]}
    client.publish(f"$iothub/methods/res/-7/?$rid={rid}", b'{"done": true}', qos=0)
    response = await calling
    assert (response.status_code, response.json()) == (200, {"status": -7, "payload": {"done": True}})


@pytest.mark.parametrize(
    ("body", "payload"), [(b"", None), (b" ", None), (b"null", None), (b'"text"', "text"), (b"3", 3)]
)
async def test_any_json_is_an_answer_and_so_is_nothing(client: Client, pump: World, body: bytes, payload: Any) -> None:
    calling = asyncio.ensure_future(call(pump))
    request = await client.expect(Publish)
    assert request.body in (b"", b"null")
    rid = request.topic.decode().partition("?$rid=")[2]
    client.publish(f"$iothub/methods/res/200/?$rid={rid}", body)
    assert (await calling).json() == {"status": 200, "payload": payload}


@pytest.mark.parametrize("body", [b"not json", b"\xff", b'"' + b"x" * (128 * 1024) + b'"'])
async def test_an_answer_that_is_no_json_or_too_large_fails_the_call_and_not_the_device(
    client: Client, pump: World, body: bytes
) -> None:
    calling = asyncio.ensure_future(call(pump))
    rid = (await client.expect(Publish)).topic.decode().partition("?$rid=")[2]
    client.publish(f"$iothub/methods/res/200/?$rid={rid}", body)
    assert (await calling).status_code == 502
    await client.acks(1)


async def test_an_answer_to_nothing_is_acknowledged_and_ignored(client: Client) -> None:
    assert client.publish("$iothub/methods/res/200/?$rid=nobody-asked", b"{}")
    assert await client.acks(1)


async def test_one_device_cannot_answer_for_another(client: Client, pump: World) -> None:
    await pump.create("pump-02")
    other = await pump.connect("pump-02")
    calling = asyncio.ensure_future(call(pump))
    rid = (await client.expect(Publish)).topic.decode().partition("?$rid=")[2]
    other.publish(f"$iothub/methods/res/200/?$rid={rid}", b'"forged"')
    await other.acks(1)
    client.publish(f"$iothub/methods/res/200/?$rid={rid}", b'"real"')
    assert (await calling).json()["payload"] == "real"


async def test_a_device_that_did_not_subscribe_is_not_online(pump: World) -> None:
    response = await call(pump)
    assert response.status_code == 404
    await pump.connect()
    assert (await call(pump)).status_code == 404


async def test_a_call_can_wait_for_the_device_to_come(pump: World) -> None:
    calling = asyncio.ensure_future(call(pump, connectTimeoutInSeconds=10))
    await asyncio.sleep(0.05)
    client = await pump.connect(clean=False)
    await client.subscribe(METHODS)
    request = await client.expect(Publish)
    rid = request.topic.decode().partition("?$rid=")[2]
    client.publish(f"$iothub/methods/res/200/?$rid={rid}", b"")
    assert (await calling).status_code == 200


async def test_methods_reach_a_resumed_session(pump: World) -> None:
    first = await pump.connect(clean=False)
    await first.subscribe(METHODS)
    client = await pump.connect(clean=False)
    calling = asyncio.ensure_future(call(pump))
    rid = (await client.expect(Publish)).topic.decode().partition("?$rid=")[2]
    client.publish(f"$iothub/methods/res/200/?$rid={rid}", b"")
    assert (await calling).status_code == 200
