"""Good devices that look at a clock: how long a connect takes, and how long an acknowledgement.

They speak MQTT 3.1.1 as far as that needs, over blocking sockets, from an address of their own.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.peers import BenchError, Devices
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

__all__ = ["Credential", "credentials", "seconds_of_acknowledgements", "seconds_to_connect"]

PATIENCE_S = 20.0
_PAUSE_S = 0.02


@dataclass(frozen=True)
class Credential:
    """A device, and the PEM file with its key and the certificates that it sends."""

    device: str
    file: Path


def credentials(devices: Devices, folder: Path, count: int) -> list[Credential]:
    """Of the first `count` of `devices`."""
    folder.mkdir()
    key = (devices.folder / "key.pem").read_text()
    issuer = _pem(x509.load_der_x509_certificate((devices.folder / "issuer.der").read_bytes()))
    leaves = (devices.folder / "leaves.der").read_bytes()
    found = []
    for number in range(count):
        # DER says in its first four bytes how long it is: SEQUENCE, a length of two bytes.
        size = 4 + int.from_bytes(leaves[2:4], "big")
        leaf, leaves = x509.load_der_x509_certificate(leaves[:size]), leaves[size:]
        file = folder / f"{number}.pem"
        file.write_text(key + _pem(leaf) + issuer)
        found.append(Credential(f"device-{number}", file))
    return found


def seconds_to_connect(port: int, credential: Credential, source: str) -> float:
    """From the first packet of TCP to CONNACK, which says yes. Raises `BenchError` when it does not come."""
    began = time.monotonic()
    try:
        with connected(port, credential, source):
            return time.monotonic() - began
    except OSError as error:
        raise BenchError(
            f"{credential.device} from {source} was not let in: {error!r}, after {time.monotonic() - began:.1f} s"
        ) from error


def seconds_of_acknowledgements(port: int, credential: Credential, source: str, *, until: float) -> list[float]:
    """What one message after the other took to be acknowledged, until that time (monotonic)."""
    took = []
    with connected(port, credential, source) as stream:
        topic = f"devices/{credential.device}/messages/events/".encode()
        body = len(topic).to_bytes(2, "big") + topic + b"\0\1" + b"x" * 50
        packet = b"\x32" + bytes((len(body),)) + body
        while time.monotonic() < until:
            began = time.monotonic()
            stream.sendall(packet)
            if stream.recv(4) != b"\x40\x02\x00\x01":
                raise BenchError(f"{credential.device} expected an acknowledgement")
            took.append(time.monotonic() - began)
            time.sleep(_PAUSE_S)
    return took


@contextlib.contextmanager
def connected(port: int, credential: Credential, source: str) -> Iterator[ssl.SSLSocket]:
    """A device that was let in. Raises `OSError`, `BenchError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Who the hub is does not matter here.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(credential.file)
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE_S, (source, 0)) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as stream,
    ):
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        device = credential.device.encode()
        texts = (device, b"localhost/" + device + b"/?api-version=2021-04-12")
        body = b"\0\4MQTT\4\x82\0\x3c" + b"".join(len(each).to_bytes(2, "big") + each for each in texts)
        stream.sendall(b"\x10" + bytes((len(body),)) + body)
        answer = stream.recv(4)
        if answer != b"\x20\x02\x00\x00":
            raise BenchError(f"{credential.device} got {answer!r} for its CONNECT")
        yield stream
        stream.sendall(b"\xe0\0")


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
