"""Calls out: pinned, bounded, and to nobody whom the operator did not allow. All against real sockets."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from moorage.adapters.egress import Egress, Limits, Upload
from moorage.adapters.egress_policy import Address, AllowList
from moorage.errors import Invalid, LocalProtocolError, Refusal, TooLarge, Unavailable
from tests.callees import Callee, Received, answer, callee

LOOPBACK = AllowList.of(["127.0.0.0/8", "::1"])


class Names:
    """A resolver whose answers change from call to call, as an attacker's do; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[Address]:
        self.asked.append(host)
        now = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [ipaddress.ip_address(each) for each in now]


def egress_to(server: Callee, **more: object) -> Egress:
    return Egress(LOOPBACK, ca_bundle=server.ca_bundle, **more)  # type: ignore[arg-type]  # as they come


async def refused(call: object) -> Refusal:
    with pytest.raises(Refusal) as raised:
        await call  # type: ignore[misc]  # any awaitable
    return raised.value


async def test_a_call_arrives_as_it_was_made_and_its_answer_comes_back() -> None:
    async with callee(answer(201, b'{"ok":true}', ("X-One", "two"))) as server:
        got = await egress_to(server).request(
            "POST", f"{server.url}/a/b?code=s%20cret", headers=[("content-type", "application/json")], body=b"{}"
        )
    assert (got.status, got.body, got.header("x-one")) == (201, b'{"ok":true}', "two")
    (received,) = server.received
    assert (received.method, received.target, received.body) == ("POST", "/a/b?code=s%20cret", b"{}")
    assert received.headers["host"] == f"localhost:{server.port}"
    assert received.headers["accept-encoding"] == "identity"
    assert server.sni == ["localhost"]


async def test_nothing_is_asked_of_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with callee(answer(), tls=False) as server, callee(answer(502), tls=False) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert (await egress_to(server).request("GET", server.url)).status == 200
    assert proxy.connections == 0


async def test_the_address_that_was_judged_is_the_one_that_is_called() -> None:
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    allowed = AllowList.of(["127.0.0.2"])
    async with callee(answer(204), names=("hook.example",), address="127.0.0.2") as server:
        egress = Egress(allowed, ca_bundle=server.ca_bundle, resolve=names)
        assert (await egress.request("GET", server.url)).status == 204
        assert names.asked == ["hook.example"]
        # The second answer of the rebinding name is judged too.
        no = await refused(egress.request("GET", server.url))
        assert no.reason == "egress.not_allowed" and "127.0.0.1" in no.message
    assert server.connections == 1


async def test_a_name_with_a_good_and_a_bad_address_is_called_at_the_good_one_alone() -> None:
    names = Names(["127.0.0.1", "169.254.169.254", "127.0.0.2"])
    async with (
        callee(answer(200), names=("hook.example",), address="127.0.0.2") as good,
    ):
        egress = Egress(AllowList.of(["127.0.0.2"]), ca_bundle=good.ca_bundle, resolve=names)
        assert (await egress.request("GET", good.url)).status == 200


async def test_the_next_address_is_tried_when_nobody_answers_at_the_first() -> None:
    async with callee(answer(200), names=("hook.example",), address="127.0.0.2") as server:
        egress = egress_to(server, resolve=Names(["127.0.0.3", "127.0.0.2"]))
        assert (await egress.request("GET", server.url)).status == 200


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0.0.0.0", "localhost", "[::1]", "[::ffff:127.0.0.1]",
     "[::127.0.0.1]", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.100.100.200", "[fe80::1]",
     "[fd00:ec2::254]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]", "168.63.129.16", "255.255.255.255", "224.0.0.1"],
)  # fmt: skip
async def test_no_spelling_of_an_address_of_our_own_is_called(host: str) -> None:
    no = await refused(Egress().request("GET", f"https://{host}:9/"))
    assert no.reason in ("egress.not_allowed", "egress.unresolved"), no


async def test_without_tls_only_what_is_allowed_is_called() -> None:
    no = await refused(Egress().request("GET", "http://8.8.8.8/"))
    assert no.reason == "egress.not_allowed" and "without TLS" in no.message


@pytest.mark.parametrize(
    "url",
    ["", "hook.example", "ftp://hook.example/", "file:///etc/passwd", "https://", "https:///x", "https://h:0/",
     "https://h:99999/", "https://h:port/", "https://user:secret@h/", "https://h/ x", "https://h/\r\nx: y",
     "https://b\u00fccher.example/", "https://[::1/", "https://[v1.x]/", "https://a:b:c/", "https://h%00/",
     "https://h/" + "x" * 9000],
)  # fmt: skip
async def test_what_is_no_url_to_call_is_refused_without_showing_it(url: str) -> None:
    no = await refused(Egress().request("GET", url))
    assert (type(no), no.reason) == (Invalid, "egress.url")
    assert "secret" not in no.message


async def test_a_certificate_of_nobody_we_trust_is_refused() -> None:
    async with callee(answer()) as server:
        no = await refused(Egress(LOOPBACK).request("GET", server.url))
    assert no.reason == "egress.tls" and "--egress-ca-bundle" in no.fix
    assert server.received == []


async def test_a_certificate_for_another_name_is_refused_though_the_address_is_right() -> None:
    async with callee(answer(), names=("other.example",)) as server:
        egress = egress_to(server, resolve=Names(["127.0.0.1"]))
        no = await refused(egress.request("GET", f"https://hook.example:{server.port}/"))
    assert no.reason == "egress.tls" and "hook.example" in no.message
    assert server.received == []


async def test_a_bundle_that_is_gone_is_told(tmp_path: Path) -> None:
    no = await refused(Egress(LOOPBACK, ca_bundle=tmp_path / "gone.pem").request("GET", "https://localhost:9/"))
    assert no.reason == "egress.tls" and "gone.pem" in no.message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    async with callee(answer()) as other:
        async with callee(answer(status, b"", ("Location", f"{other.url}/there"))) as server:
            no = await refused(egress_to(server).request("GET", f"{server.url}/?code=secret"))
    assert no.reason == "egress.redirected"
    assert "secret" not in str(no)
    assert other.connections == 0


async def test_nobody_listens() -> None:
    async with callee(answer()) as server:
        pass
    no = await refused(egress_to(server).request("GET", server.url))
    assert (type(no), no.reason) == (Unavailable, "egress.unreachable")


async def test_a_name_without_address() -> None:
    async def fails(host: str, port: int) -> list[Address]:
        raise OSError(-2, "Name or service not known")

    no = await refused(Egress(LOOPBACK, resolve=fails).request("GET", "https://hook.example/"))
    assert no.reason == "egress.unresolved"
    no = await refused(Egress(LOOPBACK, resolve=Names([])).request("GET", "https://hook.example/"))
    assert no.reason == "egress.not_allowed"


# --- time ---------------------------------------------------------------------------------------------------------


async def _drip(_received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(100_000):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _silent(_received: Received, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def _interim_for_ever(_received: Received, writer: asyncio.StreamWriter) -> None:
    for _ in range(1000):
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()


@pytest.mark.parametrize("respond", [_drip, _silent])
async def test_the_whole_call_has_one_time_limit(respond: object) -> None:
    async with callee(respond) as server:  # type: ignore[arg-type]  # one of the two above
        # The server would go on for a quarter of an hour and for an hour.
        async with asyncio.timeout(30):
            no = await refused(egress_to(server).request("GET", server.url, limits=Limits(total_s=0.2)))
    assert (type(no), no.reason) == (Unavailable, "egress.timeout")


async def test_a_handshake_that_never_ends_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listens:
        url = f"https://127.0.0.1:{listens.getsockname()[1]}/"
        no = await refused(Egress(LOOPBACK).request("GET", url, limits=Limits(total_s=0.2)))
    assert no.reason == "egress.timeout"


async def test_a_resolver_that_hangs_is_left() -> None:
    async def hangs(host: str, port: int) -> list[Address]:
        await asyncio.sleep(60)
        return []

    egress = Egress(LOOPBACK, resolve=hangs)
    no = await refused(egress.request("GET", "https://hook.example/", limits=Limits(total_s=0.05)))
    assert no.reason == "egress.timeout"


async def test_a_time_limit_of_the_callers_own_is_not_taken_for_ours() -> None:
    async with callee(_silent) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await egress_to(server).request("GET", server.url)


# --- size ---------------------------------------------------------------------------------------------------------


async def _chunked(_received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(50):
        writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await writer.drain()
    writer.write(b"0\r\n\r\n")


async def _to_the_end(_received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 51_200)


async def _long_head(_received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 200_000 + b"\r\n\r\n")


async def _garbage(_received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n")


async def _half(_received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")


async def _nothing(_received: Received, writer: asyncio.StreamWriter) -> None:
    return


@pytest.mark.parametrize("respond", [answer(200, b"x" * 51_200), _chunked, _to_the_end])
@pytest.mark.parametrize("most", [51_200, 51_199])
async def test_an_answer_is_read_up_to_its_limit(respond: object, most: int) -> None:
    async with callee(respond, tls=False) as server:  # type: ignore[arg-type]  # one of the three above
        call = egress_to(server).request("GET", server.url, limits=Limits(response_bytes=most))
        if most == 51_200:
            assert len((await call).body) == 51_200
        else:
            no = await refused(call)
            assert (type(no), no.reason) == (TooLarge, "egress.response_size")


async def test_a_request_beyond_its_limit_is_not_sent() -> None:
    async with callee(answer()) as server:
        no = await refused(egress_to(server).request("PUT", server.url, body=b"xx", limits=Limits(request_bytes=1)))
    assert no.reason == "egress.request_size"
    assert server.connections == 0


@pytest.mark.parametrize(
    ("respond", "reason"),
    [
        (_long_head, "egress.malformed"),
        (_garbage, "egress.malformed"),
        (_interim_for_ever, "egress.malformed"),
        (_half, "egress.unreachable"),
        (_nothing, "egress.unreachable"),
    ],
)
async def test_an_answer_that_is_none_is_refused(respond: object, reason: str) -> None:
    async with callee(respond, tls=False) as server:  # type: ignore[arg-type]  # one of those above
        assert (await refused(egress_to(server).request("GET", server.url))).reason == reason


# --- streams ------------------------------------------------------------------------------------------------------


async def test_a_container_goes_both_ways_in_pieces() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"y" * 16_384

    async with callee(answer(201, b"z" * 300_000)) as server:
        limits = Limits(request_bytes=2**20, response_bytes=2**20)
        async with egress_to(server).stream("PUT", server.url, body=Upload(2**20, pieces()), limits=limits) as got:
            assert got.status == 201 and got.header("Content-Length") == "300000"
            sizes = [len(chunk) async for chunk in got.chunks]
    assert sum(sizes) == 300_000 and max(sizes) <= 65_536
    assert server.received[0].headers["content-length"] == str(2**20)
    assert server.received[0].body == b"y" * 2**20


@pytest.mark.parametrize("length", [3, 5])
async def test_an_upload_that_is_not_as_long_as_it_says_is_a_fault_of_ours(length: int) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"four"

    async with callee(answer(), tls=False) as server:
        with pytest.raises(LocalProtocolError):
            async with egress_to(server).stream("PUT", server.url, body=Upload(length, pieces())):
                pass


@pytest.mark.parametrize("lingers_s", [0.0, 0.1])
async def test_an_answer_that_comes_before_the_upload_is_over_is_heard(lingers_s: float) -> None:
    async def refuses(received: Received, writer: asyncio.StreamWriter) -> None:
        await answer(403, b"no")(received, writer)
        await writer.drain()
        await asyncio.sleep(lingers_s)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"y" * 65_536

    limits = Limits(request_bytes=2**30)
    async with callee(refuses, tls=False, reads_body=False) as server:
        async with egress_to(server).stream(
            "PUT", server.url, body=Upload(1000 * 65_536, pieces()), limits=limits
        ) as got:
            assert got.status == 403


async def test_a_fault_of_the_reader_of_a_stream_stays_its_own() -> None:
    async with callee(answer(200, b"x" * 100)) as server:
        with pytest.raises(OSError, match="disk full"):
            async with egress_to(server).stream("GET", server.url):
                raise OSError("disk full")


async def test_the_peer_speaks_no_tls() -> None:
    def shout(listens: socket.socket) -> None:
        connection, _ = listens.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            connection.recv(65_536)

    with socket.create_server(("127.0.0.1", 0)) as listens:
        shouting = asyncio.create_task(asyncio.to_thread(shout, listens))
        url = f"https://127.0.0.1:{listens.getsockname()[1]}/"
        no = await refused(Egress(LOOPBACK).request("GET", url))
        await shouting
    assert no.reason == "egress.tls", no
    assert isinstance(no.__cause__, ssl.SSLError)


async def test_a_body_of_ten_thousands_of_chunks_holds_up_nobody_else() -> None:
    async def crumbs(_received: Received, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n")

    at_once, most = 0, 0

    async def others() -> None:
        nonlocal at_once
        while True:
            await asyncio.sleep(0)
            at_once = 0

    async with callee(crumbs) as server:
        everything_else = asyncio.create_task(others())
        async with egress_to(server).stream("GET", server.url) as got:
            async for chunk in got.chunks:
                assert chunk == b"x"
                at_once += 1
                most = max(most, at_once)
        everything_else.cancel()
    assert 0 < most <= 50


async def test_what_is_no_http_is_told_in_a_few_words() -> None:
    async def banner(_received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 " + b"secret of another protocol " * 1000 + b"\r\n\r\n")

    async with callee(banner) as server:
        no = await refused(egress_to(server).request("GET", server.url))
    assert no.reason == "egress.malformed" and len(no.message) < 300


async def test_an_etag_of_any_bytes_can_be_given_back() -> None:
    async with callee(answer(200, b"", ("ETag", '"one"'))) as server:
        got = await egress_to(server).request("GET", server.url, headers=[("if-match", '"\xe9\xff"')])
    assert got.status == 200


async def test_names_that_nobody_resolves_leave_the_hub_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()

    def silent(*_: object, **__: object) -> None:
        # As a resolver whose name servers do not answer.
        gone.wait(60)
        raise socket.gaierror("no name server answered")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    calls = [
        asyncio.create_task(refused(Egress().request("GET", f"http://{n}.example", limits=Limits(total_s=0.5))))
        for n in range(50)
    ]
    try:
        await asyncio.sleep(0.05)
        # Far less than the resolver takes.
        async with asyncio.timeout(20):
            assert await asyncio.to_thread(lambda: "done") == "done"
        assert {no.reason for no in await asyncio.gather(*calls)} == {"egress.timeout"}
    finally:
        gone.set()
