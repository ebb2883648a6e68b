"""Requests to the service: foreign credentials, ids that are more than ids, and headers that say two things."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import timedelta

from moorage.identities.owner import OwnerKey
from tests.attacks.scene import API, DPS_API, Scene
from tests.attacks.table import Chapter
from tests.servers.http_clients import RawHTTP

__all__ = ["CHAPTER", "SMUGGLING"]

CHAPTER = attack = Chapter("The service's requests")
SMUGGLING = smuggles = Chapter("Header smuggling")

_ARM = "/subscriptions/00000000-0000-0000-0000-000000000000/providers/Microsoft.Devices/IotHubs?api-version=2021-07-02"


def _shows(number: int, text: str, reason: str, credential: Callable[[Scene], str | None]) -> None:
    @attack(number, text, service=reason)
    async def act(scene: Scene) -> str:
        await scene.by_key()
        return await scene.request("GET", f"/devices/{scene.name}?{API}", credential=credential(scene))


def _jwt(**claims: str) -> str:
    """A token as a stub login makes it, signed by nobody."""
    parts = (json.dumps(each).encode() for each in ({"alg": "none", "typ": "JWT"}, claims))
    return ".".join(base64.urlsafe_b64encode(each).decode().rstrip("=") for each in parts) + "."


def _minted(scene: Scene) -> str:
    return scene.ground.bearer()


def _other_end(text: str) -> str:
    return text[:-1] + ("1" if text.endswith("0") else "0")


_shows(800, "No Authorization.", "authorization.missing", lambda scene: None)
_shows(801, "An Authorization of spaces.", "authorization.missing", lambda scene: "  ")
_shows(802, "A user name and password.", "authorization.scheme", lambda scene: "Basic aW90aHVib3duZXI6a2V5")
_shows(803, "A policy's key as it is.", "authorization.scheme", lambda scene: scene.key.reveal())
_shows(804, "A bearer of a stub login.", "bearer.foreign", lambda scene: f"Bearer {_jwt(sub='owner', scp='all')}")
_shows(805, "An empty bearer.", "bearer.foreign", lambda scene: "Bearer")
_shows(
    806,
    "The owner's bearer, its end put off.",
    "bearer.signature",
    lambda scene: _minted(scene).replace(".api.", ".api.9", 1),
)
_shows(807, "The owner's bearer with another last digit.", "bearer.signature", lambda scene: _other_end(_minted(scene)))
_shows(
    808,
    "A bearer of another hub's owner.",
    "bearer.signature",
    lambda scene: "Bearer " + OwnerKey.generate().mint("api", timedelta(hours=1), scene.world.clock.now()).reveal(),
)
_shows(
    809,
    "The owner's sign-in link, which is for a page.",
    "bearer.purpose",
    lambda scene: "Bearer " + scene.ground.owner.mint("sign-in", timedelta(hours=1), scene.world.clock.now()).reveal(),
)
_shows(
    810,
    "The owner's sign-in link, its purpose written over.",
    "bearer.signature",
    lambda scene: (
        "Bearer "
        + scene.ground.owner.mint("sign-in", timedelta(hours=1), scene.world.clock.now())
        .reveal()
        .replace(".sign-in.", ".api.")
    ),
)
_shows(
    811,
    "The owner's bearer, after its end.",
    "bearer.expired",
    lambda scene: (
        "Bearer "
        + scene.ground.owner.mint("api", timedelta(hours=1), scene.world.clock.now() - timedelta(hours=2)).reveal()
    ),
)
_shows(
    812,
    "The owner's key without its last character.",
    "bearer.foreign",
    lambda scene: f"Bearer {scene.ground.owner.text().reveal()[:-1]}",
)


def _arm(number: int, text: str, reason: str, credential: Callable[[Scene], str | None]) -> None:
    @attack(number, text, service=("401 IotHubUnauthorizedAccess", reason))
    async def act(scene: Scene) -> str:
        scene.honest = lambda: scene.request("GET", _ARM, credential=scene.ground.bearer())
        return await scene.request("GET", _ARM, credential=credential(scene))


_arm(820, "The control plane, without a credential.", "authorization.missing", lambda scene: None)
_arm(
    821, "The control plane, with a bearer of a stub login.", "bearer.foreign", lambda scene: f"Bearer {_jwt(oid='0')}"
)
_arm(
    822,
    "The control plane, with the token of the hub's strongest policy.",
    "token.policy_rights",
    lambda scene: scene.ground.policy_token(),
)


def _asks(number: int, text: str, answer: str, reason: str, path: str, *, scoped: bool = False) -> None:
    """With a token for everything, or `scoped` to the attacker's own device."""

    @attack(number, text, service=(answer, reason))
    async def act(scene: Scene) -> str:
        own = f"{scene.name}-thief"
        await scene.by_key()
        await scene.by_key(own)
        credential = scene.token(own) if scoped else scene.ground.policy_token()
        return await scene.request("GET", path.format(victim=scene.name, own=own), credential=credential)


_INVALID = "400 ArgumentInvalid"
_asks(
    830,
    "Up from the own device, to another.",
    "404 NotFound",
    "route.unknown",
    f"/devices/{{own}}/../{{victim}}?{API}",
    scoped=True,
)
_asks(
    831,
    "The same with encoded slashes: one id, and none that there can be.",
    _INVALID,
    "id.device",
    f"/devices/{{own}}%2F..%2F{{victim}}?{API}",
    scoped=True,
)
_asks(
    832,
    "An encoded slash, to get at a module with a right to its device alone.",
    _INVALID,
    "id.device",
    f"/devices/{{own}}%2Fmodules%2Fcamera?{API}",
    scoped=True,
)
_asks(
    833,
    "An id of two dots: a device of that name, and there is none.",
    "404 DeviceNotFound",
    "device.not_found",
    f"/devices/..?{API}",
)
_asks(834, "An id with a NUL.", _INVALID, "id.device", f"/devices/{{victim}}%00?{API}")
_asks(835, "An id that is not UTF-8.", _INVALID, "path.encoding", f"/devices/%ff?{API}")
_asks(
    836,
    "An id that is encoded twice, which is decoded once.",
    "404 DeviceNotFound",
    "device.not_found",
    f"/devices/%25{{victim}}?{API}",
)
_asks(837, "A path of ten thousand characters.", _INVALID, "path.size", f"/devices/{'x' * 10_000}?{API}")
_asks(838, "An id of 129 characters.", _INVALID, "id.device", f"/devices/{'x' * 129}?{API}")
_asks(
    839, "An id with a line's end, for whoever reads the log.", _INVALID, "id.device", f"/devices/x%0d%0arefused?{API}"
)


@attack(840, "The name of a CA that leads out of its collection.", service=(_INVALID, "id.ca"))
async def _ca_name(scene: Scene) -> str:
    await scene.by_key()
    return await scene.request(
        "GET", "/moorage/v1/hub/certificates/..%2F..%2Fowner.key", credential=scene.ground.bearer()
    )


@attack(841, "A registration id that leads out of its collection.", service=("400 400004", "id.registration"))
async def _registration_id(scene: Scene) -> str:
    await scene.by_key()
    token = scene.ground.policy_token("dps", "provisioningserviceowner")
    return await scene.request("GET", f"/enrollments/..%2FenrollmentGroups?{DPS_API}", credential=token)


@attack(842, "A header that asks for another method than the request's.", service=("200", ""))
async def _other_method(scene: Scene) -> str:
    await scene.by_key()
    token = scene.ground.policy_token("hub", "registryRead")
    return await scene.request(
        "GET", f"/devices/{scene.name}?{API}", None, "X-HTTP-Method-Override: DELETE", credential=token
    )


@attack(
    843,
    "Headers that a proxy might set: another path, another address, a user that it knows.",
    service="authorization.missing",
)
async def _proxy_headers(scene: Scene) -> str:
    await scene.by_key()
    return await scene.request(
        "GET",
        f"/devices/{scene.name}?{API}",
        None,
        "X-Original-URL: /healthz",
        "X-Rewrite-URL: /healthz",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-User: owner",
        "X-MS-Client-Principal: owner",
    )


@attack(844, "A target with another host written out.", service="authorization.missing")
async def _absolute(scene: Scene) -> str:
    await scene.by_key()
    return await scene.request("GET", f"https://evil.example/devices/{scene.name}?{API}")


@attack(845, "A good credential behind a bad one: the first is what counts.", service="token.malformed")
async def _two_credentials(scene: Scene) -> str:
    await scene.by_key()
    return await scene.request(
        "GET",
        f"/devices/{scene.name}?{API}",
        None,
        "Authorization: SharedAccessSignature x",
        f"Authorization: {scene.token()}",
    )


# --- smuggling --------------------------------------------------------------------------------------------------------


def _raw(number: int, text: str, answer: str, head: str, body: bytes = b"") -> None:
    """A request by a good credential, in these bytes; a second one hides in `body`, and must not be carried out."""

    @smuggles(number, text, service=(answer, ""))
    async def act(scene: Scene) -> str:
        await scene.by_key()
        token = scene.ground.policy_token()
        hidden = (
            f"DELETE /devices/{scene.name}?{API} HTTP/1.1\r\nHost: localhost\r\nIf-Match: *\r\n"
            f"Authorization: {token}\r\n\r\n"
        ).encode()
        asked = head.format(victim=scene.name, token=token, api=API, size=len(hidden)).replace("\n", "\r\n").encode()
        async with RawHTTP(scene.world) as http:
            http.say(asked + b"\r\n" + body + hidden)
            status = (await http.response()).status
            assert await _is_silent(http)
        # The twin reads the device, which has to be there still.
        return str(status)


_HEAD = "POST /devices/query?{api} HTTP/1.1\nHost: localhost\nAuthorization: {token}\n"
_raw(860, "Two lengths that differ.", "400", _HEAD + "Content-Length: 0\nContent-Length: {size}\n")
_raw(
    861,
    "A length, and chunks: the length may not count.",
    "400",
    _HEAD + "Content-Length: {size}\nTransfer-Encoding: chunked\n",
    b"0\r\n\r\n",
)
_raw(862, "An encoding that is nearly `chunked`.", "501", _HEAD + "Transfer-Encoding: xchunked\n")
_raw(863, "`chunked`, and something behind it.", "501", _HEAD + "Transfer-Encoding: chunked, identity\n")
_raw(864, "A space before the colon of a length.", "400", _HEAD + "Content-Length : {size}\n")
_raw(865, "A length with a sign.", "400", _HEAD + "Content-Length: +{size}\n")
_raw(866, "A length in hexadecimal.", "400", _HEAD + "Content-Length: 0x10\n")
_raw(867, "A NUL in a header.", "400", _HEAD + "X-Name: a\x00b\n")
_raw(868, "A chunk whose size is no number.", "400", _HEAD + "Transfer-Encoding: chunked\n", b"zz\r\n")
_raw(869, "No Host.", "400", "POST /devices/query?{api} HTTP/1.1\nAuthorization: {token}\n")
_raw(870, "Two Hosts.", "400", _HEAD + "Host: evil.example\n")


@smuggles(
    871,
    "A request hides in the body of one that is refused at the gate.",
    service=("401, and no more", "authorization.missing"),
)
async def _behind_a_refusal(scene: Scene) -> str:
    await scene.by_key()
    hidden = (
        f"DELETE /devices/{scene.name}?{API} HTTP/1.1\r\nHost: localhost\r\nIf-Match: *\r\n"
        f"Authorization: {scene.ground.policy_token()}\r\n\r\n"
    ).encode()
    async with RawHTTP(scene.world) as http:
        http.ask("POST", f"/devices/query?{API}", "Connection: close", body=hidden)
        status = (await http.response()).status
        assert await _is_silent(http)
    return f"{status}, and no more"


async def _is_silent(http: RawHTTP) -> bool:
    """No second answer comes: what was hidden is not read."""
    try:
        async with asyncio.timeout(0.05):
            return await http.reader.read(1) == b""
    except TimeoutError:
        return True
