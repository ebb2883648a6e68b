"""Browsers that come without TLS are shown the way; nothing that a stranger writes leads elsewhere or costs much."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from moorage.errors import RemoteProtocolError
from moorage.servers.plain_door import PlainEngine
from moorage.servers.web_door import MAX_HEAD_BYTES, BrowserEngine, answer_to
from tests.hubs import free_port
from tests.servers.clients import tls_context
from tests.servers.world import running


def request(line: str = "GET / HTTP/1.1", host: str = "Host: plant.example:8080") -> bytes:
    return f"{line}\r\nUser-Agent: x\r\n{host}\r\nAccept: */*\r\n\r\n".encode()


def location(answer: bytes) -> str:
    return answer.partition(b"Location: ")[2].partition(b"\r\n")[0].decode()


@pytest.mark.parametrize(
    ("line", "host", "there"),
    [
        ("GET / HTTP/1.1", "Host: plant.example:8080", "https://plant.example:8080/"),
        ("GET /devices?q=a%20b HTTP/1.1", "host:  LOCALHOST:8080 ", "https://LOCALHOST:8080/devices?q=a%20b"),
        ("GET / HTTP/1.0", "Host: [::1]:8080", "https://[::1]:8080/"),
        ("HEAD /x HTTP/1.1", "Host: 192.0.2.1", "https://192.0.2.1/x"),
        ("GET //evil.example/ HTTP/1.1", "Host: plant.example", "https://plant.example/"),
        ("GET http://evil.example/ HTTP/1.1", "Host: plant.example", "https://plant.example/"),
        (f"GET /{'a' * 3000} HTTP/1.1", "Host: plant.example", "https://plant.example/"),
        ("GET /\x80 HTTP/1.1", "Host: plant.example", "https://plant.example/"),
    ],
)
def test_a_browser_is_led_to_the_same_address_by_https(line: str, host: str, there: str) -> None:
    answer = answer_to(request(line, host))
    assert answer.startswith(b"HTTP/1.1 307 ")
    assert location(answer) == there


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("POST /sign-in HTTP/1.1", "Host: plant.example"),
        ("GET / HTTP/1.1", "X: y"),
        ("GET / HTTP/1.1", "Host: evil.example/x?"),
        ("GET / HTTP/1.1", "Host: a b"),
        ("GET / HTTP/2", "Host: plant.example"),
        ("EHLO mail", "Host: plant.example"),
    ],
)
def test_what_cannot_be_led_anywhere_is_told_in_words(line: str, host: str) -> None:
    answer = answer_to(request(line, host))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"begins with https://" in answer
    assert b"Location" not in answer


def test_a_request_that_comes_in_pieces_or_never_ends_is_answered_once_and_held_short() -> None:
    engine = BrowserEngine(PlainEngine())
    for byte in request()[:-1]:
        assert engine.receive(bytes([byte])) == b""
    with pytest.raises(RemoteProtocolError):
        engine.receive(b"\n")
    assert location(engine.take_output()) == "https://plant.example:8080/"
    assert engine.take_output() == b""

    engine = BrowserEngine(PlainEngine())
    with pytest.raises(RemoteProtocolError):
        engine.receive(b"GET " + b"A" * MAX_HEAD_BYTES)
    assert b"400" in engine.take_output()


def test_what_is_not_http_goes_to_the_engine_as_it_came() -> None:
    engine = BrowserEngine(PlainEngine())
    assert engine.receive(b"\x16\x03\x01") == b"\x16\x03\x01"
    assert engine.receive(b"GET / HTTP/1.1\r\n\r\n") == b"GET / HTTP/1.1\r\n\r\n"


async def test_http_on_the_port_of_the_application_leads_to_the_door_and_is_no_attempt_of_a_device(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "hub", web_port=free_port()) as world:
        info = world.app.info()
        async with httpx.AsyncClient(verify=tls_context(info.ca_bundle), timeout=30, follow_redirects=True) as client:
            answer = await client.get(f"http://localhost:{info.web_port}/devices")
        assert str(answer.url).startswith(f"https://localhost:{info.web_port}/sign-in")
        assert answer.status_code == 200
        reader, writer = await asyncio.open_connection(info.bind, info.web_port)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")
        assert b"HTTPS" in await reader.read()
        writer.close()
        assert await world.attempts() == []
