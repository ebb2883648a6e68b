"""The front door on real sockets: what fails before anybody has spoken, and what the operator reads about it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moorage.errors import Invalid
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificates
from moorage.pki.issue import key_matches
from moorage.pki.keys import load_key, make_key, save_key
from moorage.pki.policy import is_signed_by
from moorage.protocols.mqtt.packets import PingReq, PingResp
from moorage.servers.certificate import ServerCertificate
from tests import certs
from tests.protocol.tls.ends import client_context
from tests.servers.clients import PATIENCE_S, tls_context
from tests.servers.world import World, eventually

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
versions = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)


class Bytes:
    """A TCP connection to the MQTT port, without TLS."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def __aenter__(self) -> Bytes:
        port = self._world.app.info().mqtt_port
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def rest(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()


async def has_come(world: World) -> None:
    """Until the first bytes of a handshake have."""
    await eventually(lambda: any(each._engine.handshake_bytes for each in world.app.listeners.doors[0].streams))


async def test_garbage_is_closed_and_written_down(world: World) -> None:
    async with Bytes(world) as peer:
        peer.writer.write(b"\x00\x01nonsense" * 50)
        await peer.rest()
    (attempt,) = await world.attempts()
    assert (attempt.door, attempt.reason, attempt.claimed_id) == ("tls", "tls.handshake", "")
    assert attempt.address.startswith("127.0.0.1:")


async def test_plain_http_is_told_apart(world: World) -> None:
    async with Bytes(world) as peer:
        peer.writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await peer.rest()
    (attempt,) = await world.attempts()
    assert "http request" in attempt.message


async def test_half_a_handshake_times_out_and_is_written_down(world: World) -> None:
    async with Bytes(world) as peer:
        peer.writer.write(b"\x16\x03\x01\x02\x00\x01")
        await has_come(world)
        world.turn(10)
        assert await world.attempts() == []
        world.turn(15)
        assert await peer.rest() == b""
    (attempt,) = await world.attempts()
    assert attempt.reason == "tls.handshake_timeout"


async def test_a_handshake_that_is_given_up_is_written_down_and_a_port_scan_is_not(world: World) -> None:
    async with Bytes(world):
        await eventually(lambda: world.app.listeners.doors[0].streams)
    await eventually(lambda: not world.app.listeners.doors[0].streams)
    assert await world.attempts() == []
    async with Bytes(world) as peer:
        peer.writer.write(b"\x16\x03\x01\x02\x00\x01")
        await has_come(world)
    await eventually(lambda: not world.app.listeners.doors[0].streams)
    (attempt,) = await world.attempts()
    assert attempt.reason == "tls.abandoned"


@versions
async def test_a_client_that_does_not_trust_the_hub_is_written_down(world: World, version: ssl.TLSVersion) -> None:
    """The commonest fault of all: the device has not got the hub's CA."""
    context = ssl.create_default_context()
    context.minimum_version = context.maximum_version = version
    port = world.app.info().mqtt_port

    def connect() -> None:
        # Not asyncio's TLS, which goes away without the alert.
        with socket.create_connection(("127.0.0.1", port)) as raw, pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(raw, server_hostname="localhost")

    await asyncio.to_thread(connect)
    await eventually(lambda: not world.app.listeners.doors[0].streams)
    (attempt,) = await world.attempts()
    assert attempt.reason == "tls.server_distrusted"
    assert "unknown ca" in attempt.message


async def test_a_chain_that_is_too_large_is_refused_in_the_handshake(world: World) -> None:
    signer = certs.root("A root with a name that takes its space " + "x" * 20)
    for number in range(170):
        signer = certs.intermediate(signer, f"Intermediate {number:03} with a name that takes its space " + "x" * 10)
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        client = await world.dial(certs.device(signer), version=ssl.TLSVersion.TLSv1_2)
        await client.next()
    (attempt,) = await world.attempts()
    assert attempt.reason == "tls.handshake_too_large"


@versions
async def test_a_client_that_sends_one_byte_at_a_time_is_served(world: World, version: ssl.TLSVersion) -> None:
    context = client_context(await world.create_pinned(), version=version)
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(into, out, server_hostname="localhost")
    hello = b"\x10\x2a\x00\x04MQTT\x04\x82\x00\x3c\x00\x07pump-01\x00\x13localhost/pump-01/?"
    hello = hello[:1] + bytes((len(hello) - 2,)) + hello[2:]
    async with Bytes(world) as peer:
        sock = peer.writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        async def trickle() -> None:
            for byte in out.read():
                peer.writer.write(bytes((byte,)))
                await asyncio.sleep(0)

        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await trickle()
                into.write(await peer.reader.read(65536))
        tls.write(hello)
        await trickle()
        answer = b""
        async with asyncio.timeout(PATIENCE_S):
            while len(answer) < 4:
                try:
                    answer += tls.read(100)
                except ssl.SSLWantReadError:
                    into.write(await peer.reader.read(65536))
    assert answer == b"\x20\x02\x00\x00"


@versions
async def test_a_tls_session_is_not_resumed(world: World, version: ssl.TLSVersion) -> None:
    """Decisions T10: whoever comes back shows the certificate again."""
    issued = await world.create_pinned()
    context = tls_context(world.app.info().ca_bundle, issued, version=version)
    session = None
    port = world.app.info().mqtt_port

    def connect(session: ssl.SSLSession | None) -> tuple[bool | None, ssl.SSLSession | None, bytes]:
        with socket.create_connection(("127.0.0.1", port)) as raw:
            with context.wrap_socket(raw, server_hostname="localhost", session=session) as tls:
                hello = b"\x00\x04MQTT\x04\x82\x00\x3c\x00\x07pump-01\x00\x13localhost/pump-01/?"
                tls.sendall(b"\x10" + bytes((len(hello),)) + hello)
                return tls.session_reused, tls.session if (answer := tls.recv(4)) else None, answer

    for _ in range(3):
        reused, session, answer = await asyncio.to_thread(connect, session)
        assert (reused, answer) == (False, b"\x20\x02\x00\x00")
        assert session is not None


async def test_renegotiation_is_refused(world: World) -> None:
    openssl = shutil.which("openssl")
    assert openssl is not None
    info = world.app.info()
    client = await asyncio.create_subprocess_exec(
        openssl, "s_client", "-tls1_2", "-connect", f"127.0.0.1:{info.mqtt_port}", "-servername", "localhost",
        "-CAfile", str(info.ca_bundle),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert client.stdin is not None and client.stdout is not None
    async with asyncio.timeout(60):
        await client.stdout.readuntil(b"Verify return code: 0")
        client.stdin.write(b"R\n")
        output = await client.stdout.read()
        await client.wait()
    assert b"RENEGOTIATING" in output
    assert b"no renegotiation" in output


@versions
async def test_no_ca_names_are_sent_with_the_request_for_a_certificate(world: World, version: ssl.TLSVersion) -> None:
    """Java and Windows leave out certificates of CAs that are not named (contract devices 1.5)."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    info = world.app.info()
    flag = {"TLSv1_2": "-tls1_2", "TLSv1_3": "-tls1_3"}[version.name]
    client = await asyncio.create_subprocess_exec(
        openssl, "s_client", flag, "-connect", f"127.0.0.1:{info.mqtt_port}", "-servername", "localhost",
        "-CAfile", str(info.ca_bundle),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, _ = await client.communicate()
    assert b"No client certificate CA names sent" in output
    assert b"Requested Signature Algorithms" in output


# --- the server's own certificate (decisions S13) --------------------------------------------------------------------


async def test_a_new_certificate_is_shown_to_the_next_client_and_the_ones_there_stay(world: World) -> None:
    issued = await world.create_pinned()
    client = await world.connect(issued=issued)
    app = world.app
    renamed = ServerCertificate(app.config.data / "server", app.info().ca_bundle, ("localhost", "second.example"))
    context = renamed.context(datetime.now(UTC))
    for door in app.listeners.doors:
        door.context = context
    later = await world.dial()
    before, after = (each.writer.get_extra_info("ssl_object").getpeercert(binary_form=True) for each in (client, later))
    assert before != after
    client.say(PingReq())
    assert await client.next() == PingResp()


def server(folder: Path, *names: str) -> ServerCertificate:
    return ServerCertificate(folder / "server", folder / "ca-bundle.pem", names or ("localhost",))


def shown(folder: Path) -> Certificate:
    return parse_certificates((folder / "server" / "server_cert.pem").read_bytes())[0]


def bundle(folder: Path) -> list[str]:
    return [each.sha256 for each in parse_certificates((folder / "ca-bundle.pem").read_bytes())]


def test_the_certificate_is_kept_over_restarts_and_renewed_before_its_end(tmp_path: Path) -> None:
    now = certs.NOW
    server(tmp_path).context(now)
    first, trusted = shown(tmp_path), bundle(tmp_path)
    again = server(tmp_path)
    again.context(now + timedelta(days=50))
    assert shown(tmp_path) == first
    assert again.renewed(now + timedelta(days=50)) is None
    assert again.renewed(now + timedelta(days=61)) is not None
    assert shown(tmp_path) != first
    # The CA stays, so no client needs a new bundle.
    assert bundle(tmp_path) == trusted


def test_a_new_name_brings_a_new_ca_and_the_bundle_keeps_the_old_one(tmp_path: Path) -> None:
    now = certs.NOW
    server(tmp_path).context(now)
    before = bundle(tmp_path)
    server(tmp_path, "hub.example", "10.1.2.3").context(now + timedelta(seconds=1))
    after = bundle(tmp_path)
    assert len(after) == 2 and after[1:] == before
    # Names that are gone from the settings again need nothing new.
    server(tmp_path, "hub.example").context(now + timedelta(seconds=2))
    assert bundle(tmp_path) == after


def test_a_ca_near_its_end_is_followed_by_another_and_leaves_the_bundle_when_it_is_over(tmp_path: Path) -> None:
    now = certs.NOW
    server(tmp_path).context(now)
    (first,) = bundle(tmp_path)
    server(tmp_path).context(now + timedelta(days=3600))
    assert len(bundle(tmp_path)) == 2 and bundle(tmp_path)[1] == first
    server(tmp_path).context(now + timedelta(days=3700))
    assert first not in bundle(tmp_path)


@pytest.mark.parametrize("kind", ["server", "ca"])
def test_an_end_between_a_new_key_and_its_certificate_keeps_no_hub_from_starting(tmp_path: Path, kind: str) -> None:
    now = datetime.now(UTC)
    folder, bundle = tmp_path / "server", tmp_path / "ca-bundle.pem"
    ServerCertificate(folder, bundle, ["hub.example"]).context(now)
    # The key is written first; the machine went before the certificate was.
    (folder / f"{kind}_key.pem").write_bytes(save_key(make_key()))
    ServerCertificate(folder, bundle, ["hub.example"]).context(now)
    leaf, ca = parse_certificates((folder / "server_cert.pem").read_bytes())
    assert key_matches(leaf, load_key((folder / "server_key.pem").read_bytes()))
    assert key_matches(ca, load_key((folder / "ca_key.pem").read_bytes()))
    assert is_signed_by(leaf, ca)
    assert parse_certificates(bundle.read_bytes())[0] == ca


def test_a_key_that_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    server(tmp_path).context(certs.NOW)
    (tmp_path / "server" / "server_key.pem").write_text("not a key")
    with pytest.raises(Invalid) as caught:
        server(tmp_path).context(certs.NOW)
    assert caught.value.reason == "server_certificate.unreadable"
    assert "server_key.pem" in caught.value.message
    assert caught.value.fix


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    server(tmp_path).context(certs.NOW)
    assert (tmp_path / "server").stat().st_mode & 0o777 == 0o700
    for key in (tmp_path / "server").glob("*_key.pem"):
        assert key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ca-bundle.pem").stat().st_mode & 0o777 == 0o644
