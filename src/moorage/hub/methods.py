"""Direct methods: a call from the back end, an answer from the device, and the time that may pass between them.

contract/services.md 2.8 (M-1..M-7) for the caller, devices.md 2.8 for the device.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any, Protocol

from moorage.errors import Invalid, NotFound, Refusal, TooLarge, Unavailable
from moorage.hub.model import HubTables
from moorage.hub.sessions import LiveSession
from moorage.identities.registry import find_in
from moorage.ids import HubId, IdentityName
from moorage.store import Store

__all__ = [
    "MAX_PAYLOAD_BYTES",
    "BadDeviceReply",
    "Devices",
    "MethodCall",
    "MethodReply",
    "MethodService",
    "check_call",
]

MAX_PAYLOAD_BYTES = 128 * 1024
# Clients take the name from a topic without decoding it (devices.md 2.8): plain ASCII only.
_METHOD_NAME = re.compile(r"[A-Za-z0-9\-_.:!*$]{1,128}")
# Bounds what a back end can make us remember: a call is forgotten when it is answered or times out.
MAX_CALLS_PER_IDENTITY = 64


class BadDeviceReply(Refusal):
    """The device answered, but not with JSON within the limit (M-6: 502)."""


@dataclass(frozen=True, slots=True)
class MethodCall:
    """`payload` is any JSON value, handed on unchanged; timeouts are in seconds."""

    method: str
    payload: Any = None
    response_timeout_s: int = 30
    connect_timeout_s: int = 0


@dataclass(frozen=True, slots=True)
class MethodReply:
    """What the device answered; `status` is the device's own number."""

    status: int
    payload: Any


class Devices(Protocol):
    """The live sessions, as far as calling needs them."""

    def find(self, hub: HubId, name: IdentityName) -> LiveSession | None: ...


class MethodService:
    """Calls methods and matches answers to calls by request id."""

    def __init__(self, store: Store[HubTables], devices: Devices) -> None:
        self._store = store
        self._devices = devices
        self._calls: dict[tuple[HubId, IdentityName], dict[str, asyncio.Future[MethodReply]]] = {}
        # Calls that wait for their device, in the order in which they came.
        self._ready: dict[tuple[HubId, IdentityName], list[asyncio.Event]] = {}
        self._next_request = 1

    async def invoke(self, hub: HubId, name: IdentityName, call: MethodCall) -> MethodReply:
        """Call a method and wait for its answer.

        Raises:
            NotFound: `device.not_found`, `module.not_found`; `device.not_online` when it is not there within the
                connect timeout.
            Unavailable: `method.timeout` when it does not answer within the response timeout.
            BadDeviceReply: `method.bad_reply`.
            Invalid, TooLarge: as `check_call`; `method.payload` also where the device takes less.
        """
        # In a thread: to encode 128 KiB may take longer than a device may wait.
        payload = await asyncio.to_thread(check_call, call)
        find_in(self._store.read(), hub, name)
        waiting = self._calls.setdefault((hub, name), {})
        if len(waiting) >= MAX_CALLS_PER_IDENTITY:
            raise Unavailable("method.in_flight", f"'{name}' has {len(waiting)} unanswered method calls")
        request_id = f"{self._next_request:x}"
        self._next_request += 1
        answer: asyncio.Future[MethodReply] = asyncio.get_running_loop().create_future()
        waiting[request_id] = answer
        try:
            await self._deliver(hub, name, call, request_id, payload)
            async with asyncio.timeout(call.response_timeout_s):
                return await answer
        except TimeoutError:
            raise Unavailable(
                "method.timeout", f"'{name}' did not answer '{call.method}' within {call.response_timeout_s} s"
            ) from None
        finally:
            waiting.pop(request_id, None)
            if not waiting:
                self._calls.pop((hub, name), None)

    def answered(self, hub: HubId, name: IdentityName, request_id: str, reply: MethodReply | BadDeviceReply) -> None:
        """The device's answer; an unknown or expired request id is ignored (devices.md 2.8)."""
        answer = self._calls.get((hub, name), {}).get(request_id)
        if answer is None or answer.done():
            return
        if isinstance(reply, BadDeviceReply):
            answer.set_exception(reply)
        else:
            answer.set_result(reply)

    def came_online(self, hub: HubId, name: IdentityName) -> None:
        """The identity subscribed to methods: calls that wait for it may go, the first one first."""
        for ready in self._ready.get((hub, name), ()):
            ready.set()

    async def _deliver(self, hub: HubId, name: IdentityName, call: MethodCall, request_id: str, payload: bytes) -> None:
        if self._offer(hub, name, call, request_id, payload):
            return
        ready = asyncio.Event()
        waiting = self._ready.setdefault((hub, name), [])
        waiting.append(ready)
        try:
            async with asyncio.timeout(call.connect_timeout_s):
                while not self._offer(hub, name, call, request_id, payload):
                    await ready.wait()
                    ready.clear()
        except TimeoutError:
            waited = f", and did not within {call.connect_timeout_s} s" if call.connect_timeout_s else ""
            raise NotFound(
                "device.not_online", f"'{name}' is not connected, or has not subscribed to methods{waited}"
            ) from None
        finally:
            waiting.remove(ready)
            if not waiting:
                self._ready.pop((hub, name), None)

    def _offer(self, hub: HubId, name: IdentityName, call: MethodCall, request_id: str, payload: bytes) -> bool:
        session = self._devices.find(hub, name)
        return session is not None and session.call_method(request_id, call.method, payload)


def check_call(call: MethodCall) -> bytes:
    """The payload as it is sent, of a call within its bounds (M-1, M-3).

    Raises `Invalid` (`method.name`, `method.response_timeout`, `method.connect_timeout`) and `TooLarge`
    (`method.payload`).
    """
    if not _METHOD_NAME.fullmatch(call.method):
        raise Invalid(
            "method.name",
            f"{call.method[:140]!r} is not a method name: 1 to 128 ASCII letters, digits, - _ . : ! * $",
        )
    if not 5 <= call.response_timeout_s <= 300:
        raise Invalid("method.response_timeout", f"responseTimeoutInSeconds is 5 to 300, not {call.response_timeout_s}")
    if not 0 <= call.connect_timeout_s <= 300:
        raise Invalid("method.connect_timeout", f"connectTimeoutInSeconds is 0 to 300, not {call.connect_timeout_s}")
    # A call without a payload carries `null`: azure-iot-device for Node parses whatever comes, and answers 400 for
    # an empty body by itself (tests/e2e/node).
    # In UTF-8 as it is: escapes would make text beyond ASCII two to six times as long, and the limit is on bytes.
    payload = json.dumps(call.payload, ensure_ascii=False, separators=(",", ":")).encode()
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise TooLarge("method.payload", f"the payload has {len(payload)} bytes, the limit is {MAX_PAYLOAD_BYTES}")
    return payload
