"""Direct methods: calls matched to answers, and everything that keeps an answer from coming."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from moorage.adapters.sqlite import SqliteStore
from moorage.errors import Invalid, NotFound, TooLarge, Unavailable
from moorage.hub.methods import (
    MAX_CALLS_PER_IDENTITY,
    MAX_PAYLOAD_BYTES,
    BadDeviceReply,
    MethodCall,
    MethodReply,
    MethodService,
)
from moorage.hub.sessions import Line, LiveSession, LiveSessions
from moorage.identities.credentials import AuthenticatedIdentity, AuthMethod
from moorage.identities.registry import IdentityDraft, IdentityRegistry
from moorage.ids import DEFAULT_HUB, DeviceId, HubId, IdentityName, ModuleId

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PUMP = IdentityName(DeviceId("pump-01"))
VISION = IdentityName(DeviceId("pump-01"), ModuleId("vision"))
Request = tuple[str, str, bytes]


class Device:
    """A live session that is subscribed to methods when it says so, and answers nothing by itself."""

    epoch = 1
    last_received = 0.0

    def __init__(self, who: AuthenticatedIdentity) -> None:
        self.who = who
        self.is_subscribed = True
        self.requests: asyncio.Queue[Request] = asyncio.Queue()

    @property
    def name(self) -> IdentityName:
        return self.who.identity.name

    def end(self, reason: str, message: str) -> None: ...

    def desired_changed(self, patch: dict[str, Any], version: int) -> None: ...

    def messages_waiting(self) -> None: ...

    def line(self) -> Line:
        return Line("MQTT 3.1.1", "TLSv1.3", "192.0.2.9:50000", None)

    def call_method(self, request_id: str, method: str, payload: bytes) -> bool:
        if self.is_subscribed:
            self.requests.put_nowait((request_id, method, payload))
        return self.is_subscribed


class Bench:
    def __init__(self, store: SqliteStore) -> None:
        self.registry = IdentityRegistry(store)
        self.live = LiveSessions()
        self.methods = MethodService(store, self.live)

    async def connect(self, name: IdentityName = PUMP) -> Device:
        try:
            identity = self.registry.get(DEFAULT_HUB, name)
        except NotFound:
            identity = await self.registry.create(DEFAULT_HUB, IdentityDraft(name), NOW)
        device = Device(AuthenticatedIdentity(identity, AuthMethod("device", "sas", "iothub"), None))
        self.live.add(device)
        return device

    def call(self, method: str = "reboot", name: IdentityName = PUMP, **more: Any) -> asyncio.Task[MethodReply]:
        return asyncio.ensure_future(self.methods.invoke(DEFAULT_HUB, name, MethodCall(method, **more)))

    def answer(self, request: Request, reply: MethodReply | BadDeviceReply, *, by: IdentityName = PUMP) -> None:
        self.methods.answered(DEFAULT_HUB, by, request[0], reply)


@pytest.fixture
async def bench(store: SqliteStore) -> Bench:
    return Bench(store)


def nothing_is_remembered(methods: MethodService) -> bool:
    return not methods._calls and not methods._ready


async def test_the_answer_reaches_the_caller_as_the_device_gave_it(bench: Bench) -> None:
    device = await bench.connect()
    calling = bench.call(payload={"a": [1, None]})
    request = await device.requests.get()
    assert request[1] == "reboot"
    assert json.loads(request[2]) == {"a": [1, None]}
    bench.answer(request, MethodReply(-3, ["anything"]))
    assert await calling == MethodReply(-3, ["anything"])
    assert nothing_is_remembered(bench.methods)


async def test_answers_are_matched_by_request_in_any_order(bench: Bench) -> None:
    device = await bench.connect()
    calls = [bench.call(payload=number) for number in range(10)]
    requests = [await device.requests.get() for _ in calls]
    assert len({request[0] for request in requests}) == 10
    for request in reversed(requests):
        bench.answer(request, MethodReply(200, int(request[2])))
    assert [(await call).payload for call in calls] == list(range(10))


async def test_an_answer_of_somebody_else_or_for_nothing_or_a_second_one_is_ignored(bench: Bench) -> None:
    device = await bench.connect()
    await bench.connect(VISION)
    calling = bench.call()
    request = await device.requests.get()
    bench.answer(request, MethodReply(200, "forged"), by=VISION)
    bench.methods.answered(HubId("other"), PUMP, request[0], MethodReply(200, "forged"))
    bench.answer(("ffff", "", b""), MethodReply(200, "lost"))
    assert not calling.done()
    bench.answer(request, MethodReply(200, "first"))
    bench.answer(request, MethodReply(200, "second"))
    assert (await calling).payload == "first"
    bench.answer(request, MethodReply(200, "late"))


async def test_a_bad_answer_fails_the_call(bench: Bench) -> None:
    device = await bench.connect()
    calling = bench.call()
    bench.answer(await device.requests.get(), BadDeviceReply("method.bad_reply", "not JSON"))
    with pytest.raises(BadDeviceReply):
        await calling
    assert nothing_is_remembered(bench.methods)


async def test_an_unknown_identity_is_not_waited_for(bench: Bench) -> None:
    with pytest.raises(NotFound) as caught:
        await bench.call(name=IdentityName(DeviceId("ghost")), connect_timeout_s=300)
    assert caught.value.reason == "device.not_found"


async def test_a_device_that_is_away_or_has_not_subscribed_is_not_online(bench: Bench) -> None:
    device = await bench.connect()
    device.is_subscribed = False
    for _ in range(2):
        with pytest.raises(NotFound) as caught:
            await bench.call()
        assert caught.value.reason == "device.not_online"
        assert "within" not in caught.value.message
        bench.live.remove(device)
    assert nothing_is_remembered(bench.methods)


async def test_a_call_waits_for_the_device_to_come_and_then_to_subscribe(bench: Bench) -> None:
    bench.live.remove(await bench.connect())
    calls = [bench.call(connect_timeout_s=5), bench.call(connect_timeout_s=5)]
    await asyncio.sleep(0)
    device = await bench.connect()
    device.is_subscribed = False
    bench.methods.came_online(DEFAULT_HUB, VISION)
    bench.methods.came_online(DEFAULT_HUB, PUMP)
    await asyncio.sleep(0.01)
    assert device.requests.empty()
    device.is_subscribed = True
    bench.methods.came_online(DEFAULT_HUB, PUMP)
    for call in calls:
        bench.answer(await device.requests.get(), MethodReply(200, None))
        await call
    assert nothing_is_remembered(bench.methods)


async def test_a_device_that_does_not_come_in_time_is_not_online(bench: Bench) -> None:
    bench.live.remove(await bench.connect())
    with pytest.raises(NotFound) as caught:
        async with asyncio.timeout(30):
            await bench.call(connect_timeout_s=1)
    assert "within 1 s" in caught.value.message
    assert nothing_is_remembered(bench.methods)


async def test_a_caller_that_goes_away_leaves_nothing_behind(bench: Bench) -> None:
    device = await bench.connect()
    calling = bench.call()
    request = await device.requests.get()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert nothing_is_remembered(bench.methods)
    bench.answer(request, MethodReply(200, None))


async def test_only_so_many_calls_wait_for_one_device(bench: Bench) -> None:
    device = await bench.connect()
    other = await bench.connect(VISION)
    calls = [bench.call() for _ in range(MAX_CALLS_PER_IDENTITY)]
    requests = [await device.requests.get() for _ in calls]
    with pytest.raises(Unavailable) as caught:
        await bench.call()
    assert caught.value.reason == "method.in_flight"
    elsewhere = bench.call(name=VISION)
    bench.answer(await other.requests.get(), MethodReply(200, None), by=VISION)
    await elsewhere
    bench.answer(requests[0], MethodReply(200, None))
    await calls[0]
    again = bench.call()
    bench.answer(await device.requests.get(), MethodReply(200, None))
    await again
    for call in calls[1:]:
        call.cancel()
    await asyncio.gather(*calls[1:], return_exceptions=True)
    assert nothing_is_remembered(bench.methods)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a?b", "ü", "a" * 129, "a+b", "a#b"])
async def test_a_name_that_no_topic_can_carry_is_refused(bench: Bench, name: str) -> None:
    device = await bench.connect()
    with pytest.raises(Invalid) as caught:
        await bench.call(name)
    assert caught.value.reason == "method.name"
    assert device.requests.empty()


@pytest.mark.parametrize(
    ("timeouts", "reason"),
    [
        ({"response_timeout_s": 4}, "method.response_timeout"),
        ({"response_timeout_s": 301}, "method.response_timeout"),
        ({"connect_timeout_s": -1}, "method.connect_timeout"),
        ({"connect_timeout_s": 301}, "method.connect_timeout"),
    ],
)
async def test_timeouts_have_bounds(bench: Bench, timeouts: dict[str, Any], reason: str) -> None:
    await bench.connect()
    with pytest.raises(Invalid) as caught:
        await bench.call(**timeouts)
    assert caught.value.reason == reason


async def test_a_payload_is_utf_8_and_its_limit_on_those_bytes(bench: Bench) -> None:
    device = await bench.connect()
    text = "温" * 40_000
    calling = bench.call(payload=text)
    request = await device.requests.get()
    assert request[2] == f'"{text}"'.encode()
    bench.answer(request, MethodReply(200, None))
    await calling


async def test_a_payload_has_at_most_128_kib(bench: Bench) -> None:
    device = await bench.connect()
    calling = bench.call(payload="x" * (MAX_PAYLOAD_BYTES - 2))
    request = await device.requests.get()
    assert len(request[2]) == MAX_PAYLOAD_BYTES
    bench.answer(request, MethodReply(200, None))
    await calling
    with pytest.raises(TooLarge):
        await bench.call(payload="x" * (MAX_PAYLOAD_BYTES - 1))


async def test_a_live_session_is_what_calls_are_made_on(bench: Bench) -> None:
    session: LiveSession = await bench.connect()
    assert bench.live.find(DEFAULT_HUB, PUMP) is session
