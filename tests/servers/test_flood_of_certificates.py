"""Bad certificates without end against a hub that is a process of its own. `make flood` asks the same of a fast client.

How long a good device may take is measured against the same device on the same machine without a flood.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from moorage.protocols.mqtt import codec
from moorage.protocols.mqtt.packets import Connect
from tests import certs
from tests.hubs import Hub, running_hub

FLOOD_S = 3.0
WITHIN_S = 2.0
# A machine that has other work has it while it is flooded too.
MARGIN = 20
GOOD = "127.0.9.1"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("flood")
    with running_hub(folder / "hub") as hub:
        for name in ("pump-01", "pump-02"):
            sha256 = self_signed(folder, name)
            hub.moorage("device", "create", name, "--auth", "x509-thumbprint", "--primary-thumbprint", sha256)
        self_signed(folder, "pump-01", as_name="bad")
        yield hub


def self_signed(folder: Path, name: str, *, as_name: str = "") -> str:
    issued = certs.self_signed(name, now=datetime.now(UTC), label=as_name)
    file = folder / f"{as_name or name}.pem"
    file.write_text(issued.key_pem().decode() + issued.pem())
    return issued.certificate.sha256


def connect(hub: Hub, name: str, source: str, *, file: str = "") -> tuple[int, float]:
    """The return code of CONNACK, and the seconds until it came."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(hub.data.parent / f"{file or name}.pem")
    began = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", hub.info.mqtt_port), 60, (source, 0)) as raw,
        context.wrap_socket(raw) as stream,
    ):
        stream.sendall(codec.encode(Connect(name, user_name=f"localhost/{name}/")))
        answer = stream.recv(4)
        return answer[3], time.monotonic() - began


@contextlib.contextmanager
def flooded(hub: Hub, addresses: int) -> Iterator[subprocess.Popen[str]]:
    arguments = [str(hub.info.mqtt_port), str(addresses), str(FLOOD_S), str(hub.data.parent / "bad.pem")]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.flooder", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def waiting(hub: Hub) -> float:
    """Strangers whose turn has not come."""
    trust = ssl.create_default_context(cafile=hub.ca_bundle)
    figures = httpx.get(f"https://localhost:{hub.info.https_port}/metrics", verify=trust, timeout=60).text
    (line,) = (line for line in figures.splitlines() if line.startswith("moorage_strangers_waiting "))
    return float(line.split()[-1])


@pytest.mark.parametrize("addresses", [1, 200])
def test_a_good_device_gets_in_while_bad_certificates_come_without_end(hub: Hub, addresses: int) -> None:
    control = [connect(hub, "pump-01", GOOD)[1] for _ in range(5)]
    with flooded(hub, addresses) as process:
        while not waiting(hub):
            assert process.poll() is None, "that was no flood"
        # The one that the operator will ask about, from an address of its own.
        assert connect(hub, "pump-02", f"127.0.10.{1 + addresses}", file="bad")[0] == 5
        took = []
        for _ in range(5):
            code, seconds = connect(hub, "pump-01", GOOD)
            assert code == 0
            took.append(seconds)
        out, _ = process.communicate(timeout=60)
    assert int(out) > 0
    assert max(took) < WITHIN_S + MARGIN * max(control)
    (found, *_) = hub.attempts(device="pump-02")
    assert found["address"].startswith(f"127.0.10.{1 + addresses}:")
