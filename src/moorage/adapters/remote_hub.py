"""Somebody else's hub as a place for devices, over its service API (contract/services.md 2.3, 2.7).

    assign   GET /devices/{id} ─► PUT (create, or with If-Match: * change) ─► PUT or PATCH /twins/{id}
    data     GET /devices/{id}, GET /twins/{id}
    remove   DELETE /devices/{id}, If-Match: *

Each request carries a token of the connection string's policy for five minutes. What is there already as it should be
is not written again, which is what most registrations find. Only so many requests go to one hub at a time: a hub that
is slow or gone holds up its own devices and nobody else's.

Keys and thumbprints are put into these requests and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

from moorage.adapters.egress import Answer, Egress, Limits
from moorage.clock import Clock
from moorage.errors import Refusal, Unavailable
from moorage.identities.model import Authentication, BySharedKey, ByThumbprint
from moorage.identities.registry import authentication_type
from moorage.identities.sas import make_token
from moorage.ids import DeviceId
from moorage.provisioning.linked_hubs import HubEndpoint, parse_connection_string
from moorage.provisioning.model import Assignment, LinkedHub

__all__ = ["RemoteHub", "RemoteHubs"]

log = logging.getLogger(__name__)

_API: Final = "2021-04-12"
_TOKEN_LIVES: Final = timedelta(minutes=5)
_LIMITS: Final = Limits(total_s=10.0, request_bytes=256 * 1024, response_bytes=1024 * 1024)
_AT_ONCE: Final = 16
_SHOWN: Final = 300
# What may be better later: too many requests, a fault, a restart.
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})


class RemoteHubs:
    """Makes `RemoteHub`s that share, for each hub, the bound on requests under way."""

    def __init__(self, egress: Egress, clock: Clock) -> None:
        self._egress = egress
        self._clock = clock
        self._turns: dict[str, asyncio.Semaphore] = {}

    def __call__(self, linked: LinkedHub) -> RemoteHub:
        if linked.connection_string is None:
            raise ValueError("the own hub is not asked over the network")
        endpoint = parse_connection_string(linked.connection_string)
        turn = self._turns.setdefault(endpoint.host, asyncio.Semaphore(_AT_ONCE))
        return RemoteHub(self._egress, self._clock, endpoint, turn)


class RemoteHub:
    """Port: `provisioning.placing.DeviceHome`.

    Raises:
        Unavailable: `egress.*`, `linked_hub.unavailable`: it may be better later.
        Refusal: `linked_hub.refused`: this hub does not want to; `egress.*` for an answer that is none.
        Invalid: `egress.not_allowed`: the setting `egress_allow` does not name it.
    """

    def __init__(self, egress: Egress, clock: Clock, endpoint: HubEndpoint, turn: asyncio.Semaphore) -> None:
        self._egress = egress
        self._clock = clock
        self._endpoint = endpoint
        self._turn = turn

    async def assign(
        self,
        host_name: str,
        device_id: DeviceId,
        authentication: Authentication,
        *,
        reset_data: bool,
        tags: Mapping[str, Any],
        desired: Mapping[str, Any],
        is_edge: bool,
        is_disabled: bool = False,
    ) -> Assignment:
        wanted = _authentication_json(authentication)
        path = f"/devices/{quote(device_id, safe='')}"
        present = await self._find(path)
        created = present is None
        if present is None:
            body: dict[str, Any] = {
                "deviceId": device_id,
                "status": "disabled" if is_disabled else "enabled",
                "authentication": wanted,
                "capabilities": {"iotEdge": is_edge},
            }
            made = await self._ask("PUT", path, body, accepted=(200, 201, 409))
            if made.status == 409:
                # Somebody was faster.
                present, created = await self._find(path), False
        if present is not None:
            change = {**present, "authentication": wanted}
            if is_disabled:
                change["status"] = "disabled"
            if not _is_so(present, change):
                await self._ask("PUT", path, change, if_match=True)
        await self._write_twin(device_id, tags, desired, replaced=reset_data, is_new=created)
        return Assignment(device_id, created)

    async def data(self, device_id: DeviceId) -> tuple[Mapping[str, Any], Mapping[str, Any], bool] | None:
        present = await self._find(f"/devices/{quote(device_id, safe='')}")
        twin = await self._find(f"/twins/{quote(device_id, safe='')}")
        if present is None or twin is None:
            return None
        desired = _object(_object(twin.get("properties")).get("desired"))
        return (
            _object(twin.get("tags")),
            {name: value for name, value in desired.items() if not name.startswith("$")},
            present.get("status") == "disabled",
        )

    async def remove(self, device_id: DeviceId) -> None:
        path = f"/devices/{quote(device_id, safe='')}"
        await self._ask("DELETE", path, accepted=(200, 204, 404), if_match=True)

    async def check(self) -> None:
        """That it can be reached, and lets the policy read its registry."""
        await self._ask("GET", "/devices", query="&top=1")

    async def _write_twin(
        self,
        device_id: DeviceId,
        tags: Mapping[str, Any],
        desired: Mapping[str, Any],
        *,
        replaced: bool,
        is_new: bool,
    ) -> None:
        path = f"/twins/{quote(device_id, safe='')}"
        body = {"tags": tags, "properties": {"desired": desired}}
        if is_new:
            if tags or desired:
                await self._ask("PATCH", path, body, if_match=True)
        elif replaced:
            data = await self.data(device_id)
            if data is None or (dict(data[0]), dict(data[1])) != (dict(tags), dict(desired)):
                await self._ask("PUT", path, body, if_match=True)

    async def _find(self, path: str) -> dict[str, Any] | None:
        answer = await self._ask("GET", path, accepted=(200, 404))
        if answer.status == 404:
            return None
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise self._odd(f"what it answered to GET {path} is not JSON") from error
        if not isinstance(document, dict):
            raise self._odd(f"what it answered to GET {path} is no JSON object")
        return document

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        accepted: tuple[int, ...] = (200, 201, 204),
        if_match: bool = False,
        query: str = "",
    ) -> Answer:
        endpoint = self._endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        token = make_token(host, endpoint.key, self._clock.now() + _TOKEN_LIVES, endpoint.policy)
        headers = [("authorization", token.reveal()), ("accept", "application/json")]
        if body is not None:
            headers.append(("content-type", "application/json; charset=utf-8"))
        if if_match:
            headers.append(("if-match", '"*"'))
        url = f"https://{host}:{endpoint.port}{path}?api-version={_API}{query}"
        content = b"" if body is None else json.dumps(body, default=_plain).encode()
        async with self._turn:
            answer = await self._egress.request(method, url, headers=headers, body=content, limits=_LIMITS)
        if answer.status in accepted:
            return answer
        raise self._refused(f"{method} {path}", answer)

    def _refused(self, what: str, answer: Answer) -> Refusal:
        # The device is told that it failed, and not what the hub's operator is told.
        log.info(
            "linked_hub_refused host=%s asked=%r status=%d body=%r",
            self._endpoint.host,
            what,
            answer.status,
            answer.body[:_SHOWN],
        )
        message = f"linked hub {self._endpoint.host} answered {what} with {answer.status}"
        if answer.status in _PASSING:
            return Unavailable("linked_hub.unavailable", message)
        fix = "" if answer.status not in (401, 403) else "moorage linked-hub add FILE"
        return Refusal("linked_hub.refused", message, fix=fix)

    def _odd(self, why: str) -> Refusal:
        return Refusal("linked_hub.refused", f"linked hub {self._endpoint.host} is not understood: {why}")


def _authentication_json(authentication: Authentication) -> dict[str, Any]:
    match authentication:
        case BySharedKey(primary, secondary):
            keys = {"primaryKey": primary.reveal(), "secondaryKey": secondary.reveal()}
            return {"type": "sas", "symmetricKey": keys}
        case ByThumbprint(first, second):
            return {
                "type": "selfSigned",
                "x509Thumbprint": {"primaryThumbprint": first, "secondaryThumbprint": second},
            }
    raise ValueError(f"a linked hub cannot be told of a device by {authentication_type(authentication)}")


def _is_so(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the hub holds the device as it is wanted: hubs add empty members of the kinds it does not have."""
    if present.get("status") != wanted.get("status"):
        return False
    now, then = _object(present.get("authentication")), _object(wanted.get("authentication"))
    if now.get("type") != then.get("type"):
        return False
    member = "symmetricKey" if then.get("type") == "sas" else "x509Thumbprint"
    return _filled(now.get(member)) == _filled(then.get(member))


def _filled(value: object) -> dict[str, Any]:
    return {name: each for name, each in _object(value).items() if each}


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
