"""Who is on, since when, over what, with which credential, and when it was last turned away; and who comes and goes.

Who is connected is the session directory's to say (decisions S1). The rest is looked up when somebody asks, and held by
no session: since when in what is known of its activity, the certificate in its TLS connection, the last refusal among
the recorded attempts.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from heapq import nsmallest
from typing import Any, Final, Protocol

from starlette.responses import Response, StreamingResponse

from moorage.api.problems import encoded_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.connections import CONNECTION, CONNECTIONS
from moorage.api.schemas.words import EVENTS, one_of, text, whole
from moorage.api.services import PresenceSource, identity_of
from moorage.api.streaming import Lease, encode_refusal
from moorage.attempts.model import Attempt
from moorage.clock import Clock
from moorage.dialects.connections_json import KeyNames, connection_json, key_names, refusal_json
from moorage.dialects.json_text import encode_json
from moorage.dialects.times import parse_time
from moorage.errors import Exhausted, Invalid
from moorage.hub.activity import ActivityTracker
from moorage.hub.sessions import Line, LiveSession, LiveSessions, SessionDirectory
from moorage.identities.credentials import AuthenticatedIdentity
from moorage.identities.policies import Policies
from moorage.identities.registry import IdentityRegistry
from moorage.ids import HubId, IdentityName, Thumbprint, parse_device_id, parse_module_id, parse_thumbprint

__all__ = ["ConnectionParts", "Refusals", "connection_routes"]

MAX_FOLLOWERS: Final = 16
_MAX_LIMIT: Final = 500
# Certificates are asked of OpenSSL on the loop, some 20 µs each.
_LINES_AT_ONCE: Final = 50
# Comings and goings that one follower may be behind; then it is told how many it missed.
_MAX_BEHIND: Final = 2000
_EVENTS_AT_ONCE: Final = 50
# A follower whose credential expired may come again within this time, and has missed nothing.
_RESUMED_WITHIN_S: Final = 30.0
_CREDENTIALS: Final = ("x509", "token")
# Attempts of devices; services have no connection.
_DEVICE_DOORS: Final = ("hub.mqtt", "hub.mqtt-ws", "hub.amqp", "hub.amqp-ws", "hub.https")


class Refusals(Protocol):
    """Who was turned away; `attempts.recorder.AttemptRecorder` is one."""

    async def last_refusals(self, hub: HubId, names: Sequence[str]) -> dict[str, Attempt]:
        """Of each of `names` that a device claimed, the latest attempt that was refused."""

    def listen(self, listener: Callable[[Attempt], None]) -> Callable[[], None]:
        """Call `listener` with every refused attempt, until what is returned is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionParts:
    """What is known of connections, and by whom."""

    hub: HubId
    clock: Clock
    directory: SessionDirectory
    live: LiveSessions
    activity: ActivityTracker
    presence: PresenceSource
    refusals: Refusals
    registry: IdentityRegistry
    policies: Policies


def connection_routes(parts: ConnectionParts) -> list[Route]:
    """Routes for the hub's owner."""
    api = _Connections(parts)
    path = "/moorage/v1/connections"
    return [
        Route(
            "GET",
            path,
            api.list,
            "owner",
            "own",
            summary="Who is connected, in the order of their ids.",
            query={
                "device": "Only this device and its modules.",
                "prefix": "Only devices whose id begins like this.",
                "credential": one_of(*_CREDENTIALS, about="Only those that this kind of credential let in."),
                "thumbprint": "Only those with this certificate, SHA-256.",
                "policy": "Only those with a token of this shared access policy.",
                "expiresBefore": text("Only those whose credential ends before this ISO 8601 time."),
                "after": "`next` of the page before.",
                "limit": whole("At most so many; 100 when not given.", least=1, most=_MAX_LIMIT),
            },
            answers={200: CONNECTIONS},
        ),
        Route(
            "GET",
            "/moorage/v1/connection-events",
            api.stream,
            "owner",
            "own",
            summary="Who comes, goes and is turned away from now on, as server-sent events `connected`, "
            "`disconnected`, `refused` and, for a client that is too slow, `missed`; the first is `following`. `ended` "
            "comes when the caller's credential expires: its id as `Last-Event-ID` resumes, for half a minute.",
            query={"device": "Only this device and its modules."},
            headers=("last-event-id",),
            answers={200: EVENTS},
        ),
        *(
            Route(
                "GET",
                f"{path}/{one}",
                api.get,
                "owner",
                "own",
                summary=f"Whether this {what} is connected, and what is known of that.",
                answers={200: CONNECTION},
            )
            for one, what in (("{id}", "device"), ("{id}/modules/{module}", "module"))
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Filters that are None match everything."""

    device: str | None
    prefix: str | None
    credential: str | None
    thumbprint: Thumbprint | None
    policy: str | None
    expires_before: datetime | None

    def has_name(self, name: IdentityName) -> bool:
        return (self.device is None or name.device_id == self.device) and (
            self.prefix is None or name.device_id.startswith(self.prefix)
        )

    def has_credential(self, session: LiveSession | None) -> bool:
        wants = (self.credential, self.thumbprint, self.policy, self.expires_before)
        if not any(each is not None for each in wants):
            return True
        if session is None:
            return False
        who = session.who
        return (
            (self.credential is None or self.credential == ("token" if who.method.type == "sas" else "x509"))
            and (self.thumbprint is None or self.thumbprint == who.thumbprint)
            and (self.policy is None or self.policy == who.policy)
            and (self.expires_before is None or (who.expires is not None and who.expires < self.expires_before))
        )


class _Connections:
    def __init__(self, parts: ConnectionParts) -> None:
        self._parts = parts
        self._followers = 0
        # By the id that resumes, what goes on being noted for followers whose credential expired; oldest first.
        self._parked: OrderedDict[str, _News] = OrderedDict()

    async def list(self, call: Call) -> Response:
        wanted, after = _wanted(call), _after(call.query.get("after"))
        limit = call.count("limit", default=100, least=1, most=_MAX_LIMIT)
        chosen = await asyncio.to_thread(self._choose, wanted, after, limit + 1)
        is_last = len(chosen) <= limit
        documents = await self._documents(chosen[:limit])
        head = {
            "connectedDeviceCount": self._parts.directory.count(self._parts.hub),
            "next": None if is_last else str(chosen[limit - 1]),
        }
        return encoded_response(encode_json(head)[:-1] + b',"connections":[' + b",".join(documents) + b"]}")

    async def get(self, call: Call) -> Response:
        name = identity_of(call)
        self._parts.registry.get(self._parts.hub, name)
        (document,) = await self._documents([name])
        return encoded_response(document)

    async def stream(self, call: Call) -> Response:
        if self._followers >= MAX_FOLLOWERS:
            raise Exhausted(
                "connections.followers",
                f"{self._followers} clients follow connections already, {MAX_FOLLOWERS} may",
                retry_after_s=30,
            )
        device = call.query.get("device")
        wanted = None if device is None else parse_device_id(device)
        resume = call.request.headers.get("last-event-id", "")
        return StreamingResponse(
            self._events(wanted, resume, Lease(call.principal, self._parts.clock)),
            media_type="text/event-stream",
            headers={"cache-control": "no-store"},
        )

    # -- who is on -----------------------------------------------------------------------------------------------------

    def _choose(self, wanted: _Wanted, after: IdentityName | None, count: int) -> Sequence[IdentityName]:
        """The first names of who is on and wanted. Called in a thread: nothing here is one long step."""
        parts = self._parts
        least = None if after is None else _order(after)
        names = (
            name
            for name in parts.directory.connected(parts.hub)
            if wanted.has_name(name)
            and (least is None or _order(name) > least)
            and wanted.has_credential(self._session(name))
        )
        return nsmallest(count, names, key=_order)

    def _session(self, name: IdentityName) -> LiveSession | None:
        """Its session, when that is the current one and this app's."""
        parts = self._parts
        session = parts.live.find(parts.hub, name)
        return session if session is not None and parts.directory.is_current(parts.hub, name, session.epoch) else None

    async def _documents(self, names: Sequence[IdentityName]) -> Sequence[bytes]:
        """What is known of each, encoded."""
        parts = self._parts
        lines: dict[IdentityName, tuple[AuthenticatedIdentity, Line]] = {}
        for number, name in enumerate(names):
            if number % _LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
            session = self._session(name)
            if session is not None:
                lines[name] = (session.who, session.line())
        refused = await parts.refusals.last_refusals(parts.hub, [str(name) for name in names])
        keys = key_names(parts.policies.all(parts.hub, "hub"))
        return await asyncio.to_thread(self._encode, names, lines, refused, keys)

    def _encode(
        self,
        names: Sequence[IdentityName],
        lines: dict[IdentityName, tuple[AuthenticatedIdentity, Line]],
        refused: dict[str, Attempt],
        keys: KeyNames,
    ) -> Sequence[bytes]:
        of = partial(self._parts.presence.of, self._parts.hub)
        return [
            encode_json(connection_json(name, of(name), lines.get(name), refused.get(str(name)), keys))
            for name in names
        ]

    # -- who comes and goes --------------------------------------------------------------------------------------------

    async def _events(self, device: str | None, resume: str, lease: Lease) -> AsyncIterator[bytes]:
        parts = self._parts
        news = self._unpark(resume, device) or _News(device, parts)
        self._followers += 1
        try:
            yield _event("following", encode_json({"connectedDeviceCount": parts.directory.count(parts.hub)}))
            while True:
                await news.wait(lease.patience_s)
                ended = lease.why_ended()
                if ended is not None:
                    yield encode_refusal("ended", ended, resume=self._park(news))
                    return
                batch, missed = news.take(_EVENTS_AT_ONCE)
                if missed:
                    yield _event("missed", encode_json({"count": missed}))
                if not batch:
                    yield b": still here\n\n"
                    continue
                moved = [what for what in batch if isinstance(what, _Moved)]
                documents = iter(await self._documents([each.name for each in moved]))
                yield b"".join(
                    _event("connected" if what.came else "disconnected", next(documents))
                    if isinstance(what, _Moved)
                    else _event("refused", encode_json(_refused(what)))
                    for what in batch
                )
        finally:
            self._followers -= 1
            if news not in self._parked.values():
                news.close()

    def _park(self, news: _News) -> str:
        resume = secrets.token_hex(16)
        self._parked[resume] = news
        if len(self._parked) > MAX_FOLLOWERS:
            self._parked.popitem(last=False)[1].close()
        asyncio.get_running_loop().call_later(_RESUMED_WITHIN_S, self._forget, resume)
        return resume

    def _forget(self, resume: str) -> None:
        news = self._parked.pop(resume, None)
        if news is not None:
            news.close()

    def _unpark(self, resume: str, device: str | None) -> _News | None:
        """What was noted meanwhile, once, if it is still there and about what is asked for."""
        news = self._parked.get(resume)
        if news is None or news.device != device:
            return None
        return self._parked.pop(resume)


@dataclass(frozen=True, slots=True)
class _Moved:
    name: IdentityName
    came: bool


class _News:
    """What one follower has not been told yet; bounded. Listens at once, until `close`."""

    def __init__(self, device: str | None, parts: ConnectionParts) -> None:
        self.device = device
        self._waiting: deque[_Moved | Attempt] = deque()
        self._missed = 0
        self._is_some = asyncio.Event()
        self._ends = (parts.activity.listen(self._moved), parts.refusals.listen(self._refused))

    def close(self) -> None:
        for end in self._ends:
            end()

    def _moved(self, name: IdentityName, came: bool) -> None:
        if self.device is None or name.device_id == self.device:
            self._add(_Moved(name, came))

    def _refused(self, attempt: Attempt) -> None:
        if attempt.door in _DEVICE_DOORS and self.device in (None, attempt.claimed_id.partition("/")[0]):
            self._add(attempt)

    def _add(self, what: _Moved | Attempt) -> None:
        if len(self._waiting) >= _MAX_BEHIND:
            self._missed += 1
        else:
            self._waiting.append(what)
        self._is_some.set()

    async def wait(self, patience_s: float) -> None:
        """Until there is something, or `patience_s` have passed."""
        try:
            await asyncio.wait_for(self._is_some.wait(), patience_s)
        except TimeoutError:
            return

    def take(self, most: int) -> tuple[Collection[_Moved | Attempt], int]:
        """What there is, and how much there was no room for."""
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        missed, self._missed = self._missed, 0
        if not self._waiting:
            self._is_some.clear()
        return taken, missed


def _refused(attempt: Attempt) -> dict[str, Any]:
    return {"claimedId": attempt.claimed_id, **refusal_json(attempt)}


def _event(name: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def _order(name: IdentityName) -> tuple[str, str]:
    return name.device_id, name.module_id or ""


def _wanted(call: Call) -> _Wanted:
    """Raises `Invalid`: `query.choice`, `thumbprint.*`, `time.malformed`, `id.device`."""
    get = call.query.get
    credential, thumbprint, before, device = get("credential"), get("thumbprint"), get("expiresBefore"), get("device")
    if credential is not None and credential not in _CREDENTIALS:
        raise Invalid("query.choice", f"credential is {credential[:40]!r}, it has to be {' or '.join(_CREDENTIALS)}")
    return _Wanted(
        device=None if device is None else parse_device_id(device),
        prefix=get("prefix"),
        credential=credential,
        thumbprint=None if thumbprint is None else parse_thumbprint(thumbprint),
        policy=get("policy"),
        expires_before=None if before is None else parse_time(before, what="expiresBefore"),
    )


def _after(cursor: str | None) -> IdentityName | None:
    if cursor is None:
        return None
    device, slash, module = cursor.partition("/")
    return IdentityName(parse_device_id(device), parse_module_id(module) if slash else None)
