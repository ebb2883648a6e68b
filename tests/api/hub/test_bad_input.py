"""Whatever is sent, the answer is a 2xx or a 4xx in JSON, and the hub goes on."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.hub.world import ARM, ApiWorld, open_world

METHODS = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"]
PATHS = [
    "/devices",
    "/devices/pump-01",
    "/devices/pump-01/modules",
    "/devices/pump-01/modules/camera",
    "/devices/pump-01/commands",
    "/statistics/devices",
    "/twins/pump-01",
    "/twins/pump-01/modules/camera",
    "/twins/pump-01/methods",
    f"{ARM}/IotHubs/hub",
    f"{ARM}/IotHubs/hub/certificates",
    f"{ARM}/IotHubs/hub/certificates/x",
    f"{ARM}/IotHubs/hub/certificates/x/verify",
    f"{ARM}/IotHubs/hub/certificates/x/generateVerificationCode",
    "/moorage/v1/devices/pump-01/messages/devicebound",
    "/moorage/v1/telemetry",
    "/moorage/v1/attempts",
    "/moorage/v1/hub/certificates/x",
    "/healthz",
    "/metrics",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.sampled_from(
    [
        "deviceId",
        "moduleId",
        "status",
        "statusReason",
        "authentication",
        "type",
        "symmetricKey",
        "primaryKey",
        "x509Thumbprint",
        "primaryThumbprint",
        "capabilities",
        "iotEdge",
        "deviceScope",
        "parentScopes",
        "managedBy",
        "tags",
        "properties",
        "desired",
        "$version",
        "methodName",
        "payload",
        "responseTimeoutInSeconds",
        "connectTimeoutInSeconds",
        "certificate",
        "isVerified",
        "disableDeviceSAS",
        "body",
        "bodyBase64",
        "expiryTimeUtc",
        "ack",
        "messageId",
    ]
)
DOCUMENTS = st.recursive(
    JSON, lambda inner: st.dictionaries(MEMBERS, inner | st.sampled_from(["sas", "selfSigned", "*"]), max_size=5)
)
BODIES = st.binary(max_size=200) | DOCUMENTS.map(lambda value: json.dumps(value).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["if-match", "content-type", "last-event-id", "content-encoding", "host", "accept"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
    max_size=3,
)


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[[Any], Any]]:
    """One hub for thousands of requests, on a loop of its own: each one finds what the ones before left."""
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory() as folder:
        manager = open_world(Path(folder))
        world = loop.run_until_complete(manager.__aenter__())
        loop.run_until_complete(world.device("pump-01"))
        yield lambda work: loop.run_until_complete(work(world))
        loop.run_until_complete(manager.__aexit__(None, None, None))
    loop.close()


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(METHODS),
    st.sampled_from(PATHS),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
    BODIES,
    HEADERS,
)
def test_any_body_and_header_on_any_route(
    run: Callable[[Any], Any], method: str, path: str, query: str, content: bytes, headers: dict[str, str]
) -> None:
    async def work(world: ApiWorld) -> None:
        sent: dict[Any, Any] = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
        sent[b"authorization"] = world.bearer().encode()
        answer = await world.client.request(method, f"{path}?{query.replace('#', '')}", content=content, headers=sent)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400 and method != "HEAD":
            assert isinstance(answer.json(), dict)
            assert answer.headers["moorage-reason"]

    run(work)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(METHODS))
def test_any_path(run: Callable[[Any], Any], raw: bytes, method: str) -> None:
    async def work(world: ApiWorld) -> None:
        for prefix in (b"/", b"/devices/", b"/twins/", b"/moorage/v1/", b"/subscriptions/s/"):
            messages: list[Any] = []
            scope = {
                "type": "http",
                "method": method,
                "path": (prefix + raw).decode("latin-1"),
                "raw_path": prefix + raw,
                "query_string": raw,
                "headers": [(b"authorization", world.bearer().encode())],
                "client": None,
            }
            app = world.client._transport.app  # type: ignore[attr-defined] # bytes that no client would send

            async def receive() -> Any:
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message: Any, messages: list[Any] = messages) -> None:
                messages.append(message)

            await app(scope, receive, send)
            assert 200 <= messages[0]["status"] < 500

    run(work)


@pytest.mark.parametrize(
    ("content", "reason", "place"),
    [
        (b"", "json.malformed", "line 1, column 1"),
        (b'{"a": 1,\n "b": }', "json.malformed", "line 2, column 7"),
        (b"\xff\xfe{}", "json.text", "byte 0"),
        (b'{"a": "\\ud800"}', "json.text", "surrogate"),
        (b'{"a": NaN}', "json.number", "NaN"),
        (b'{"a": 1e999}', "json.number", "1e999"),
        (b'{"a": ' + b"1" * 5000 + b"}", "json.number", "1111"),
        (b"[" * 100_000, "json.depth", "64 levels"),
        (b'{"a":' * 100_000 + b"}" * 100_000, "json.depth", "64 levels"),
        (b"[]", "json.not_object", "object"),
        (b"5", "json.not_object", "object"),
    ],
)
async def test_a_body_that_is_no_json_object_is_a_400_that_names_the_place(
    world: ApiWorld, content: bytes, reason: str, place: str
) -> None:
    for method, path in (("PUT", "/devices/pump-01"), ("PATCH", "/twins/pump-01"), ("POST", "/twins/pump-01/methods")):
        await world.ask("PUT", "/devices/pump-01", {})
        refused = await world.ask(method, path, content=content)
        assert (refused.status_code, refused.headers["moorage-reason"]) == (400, reason)
        assert place in refused.text


async def test_a_body_over_a_mebibyte_is_413_whether_announced_or_not(world: ApiWorld) -> None:
    announced = await world.ask("PUT", "/devices/pump-01", content=b" " * (1024 * 1024 + 1))
    assert (announced.status_code, announced.headers["moorage-reason"]) == (413, "body.size")
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b" " * 65536

    headers = {"authorization": world.token()}
    streamed = await world.client.put("/devices/pump-01", content=endless(), headers=headers)
    assert streamed.status_code == 413
    assert read <= 18


async def test_nothing_of_a_body_is_read_before_its_sender_is_known(world: ApiWorld) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    assert (await world.client.put("/devices/pump-01", content=never())).status_code == 401


async def test_unknown_paths_and_methods_say_so_in_json(world: ApiWorld) -> None:
    for path, member in (
        ("/nothing/here", "Message"),
        ("/", "Message"),
        ("/moorage/v2/x", "error"),
        ("/subscriptions/s/nothing", "error"),
    ):
        unknown = await world.ask("GET", path, policy=None)
        assert (unknown.status_code, unknown.headers["moorage-reason"]) == (404, "route.unknown")
        assert member in unknown.json()
    wrong = await world.ask("PATCH", "/devices/pump-01")
    assert (wrong.status_code, wrong.headers["moorage-reason"]) == (405, "route.method")
    assert set(wrong.headers["allow"].split(", ")) == {"GET", "PUT", "DELETE"}
    long = await world.ask("GET", "/devices/" + "x" * 9000, policy=None)
    assert (long.status_code, long.headers["moorage-reason"]) == (400, "path.size")
