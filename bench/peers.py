"""The servers that are measured and what both are given: devices with certificates, a core, a load from another core.

    devices = make_devices(folder, ids)               # root > intermediate > one leaf an id, all P-256
    with start_moorage(folder, devices) as hub:       # the real `moorage up` on the real store
        with start_mosquitto(folder, devices, hub.certificate) as broker:
            load("connect", hub, devices, tls=13)     # what bench/load.c printed

Everything listens on 127.0.0.1, on ports of its own, and ends with its `with`.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from moorage.adapters.bus import LocalBus
from moorage.adapters.files import private_folder, write_whole
from moorage.adapters.sqlite.store import SqliteStore
from moorage.adapters.sqlite.tables import AllTables
from moorage.certificates.model import RegisteredCA
from moorage.identities.model import ByAuthority, Identity
from moorage.ids import DEFAULT_HUB, CAName, DeviceId, IdentityName
from moorage.pki.certificates import Certificate
from moorage.pki.issue import issue_device, issue_intermediate, issue_root
from moorage.pki.keys import make_key, save_key

__all__ = [
    "BenchError",
    "Devices",
    "Server",
    "free_port",
    "load",
    "load_command",
    "load_in_background",
    "make_devices",
    "register",
    "start_moorage",
    "start_mosquitto",
    "work_folder",
]

SERVER_CORE, LOAD_CORE = 0, 1
READY_WITHIN_S = 60.0
LOAD_WITHIN_S = 300.0
_LOADER = Path("build/bench/load")
_LIFETIME = timedelta(days=1)
_NO_MOSQUITTO = "there is no mosquitto; bench/prepare installs it"


class BenchError(Exception):
    """It could not be measured; the message says why."""


def fail(message: str) -> NoReturn:
    raise BenchError(message)


@dataclass(frozen=True)
class Devices:
    """`folder` is what `load -d` reads; `root` is what a server trusts, as PEM and as a certificate."""

    folder: Path
    root_file: Path
    root: Certificate


@dataclass(frozen=True)
class Server:
    """One running server. `certificate` is the folder with the server certificate that devices see.

    `ready_s` is the time from starting the process until it said, or showed, that it is ready.
    """

    name: str
    port: int
    pid: int
    certificate: Path
    ready_s: float


@contextmanager
def work_folder() -> Iterator[Path]:
    """An empty folder on the disk that holds the working copy, not on a tmpfs: what is synced has to reach a disk."""
    folder = Path("build/bench").absolute() / f"run-{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def make_devices(folder: Path, ids: Iterable[str]) -> Devices:
    """A leaf for each id, under an intermediate, under a root. All leaves share one key: no server can tell."""
    folder.mkdir()
    now = datetime.now(UTC)
    root_key, issuer_key, key = make_key(), make_key(), make_key()
    root = issue_root(root_key, "Bench root", now=now, lifetime=_LIFETIME)
    issuer = issue_intermediate(
        issuer_key.public_key(), "Bench factory", issuer=root, issuer_key=root_key, now=now, lifetime=_LIFETIME
    )
    public_key = key.public_key()
    with (folder / "leaves.der").open("wb") as leaves:
        for device_id in ids:
            leaf = issue_device(
                public_key, device_id, issuer=issuer, issuer_key=issuer_key, now=now, lifetime=_LIFETIME
            )
            leaves.write(leaf.der)
    (folder / "issuer.der").write_bytes(issuer.der)
    (folder / "root.pem").write_text(root.pem)
    write_whole(folder / "key.pem", save_key(key))
    return Devices(folder, folder / "root.pem", root)


def devices_in(folder: Path) -> Devices:
    """Those that `make_devices` made there."""
    path = folder / "root.pem"
    return Devices(folder, path, Certificate(ssl.PEM_cert_to_DER_cert(path.read_text())))


def register(data: Path, devices: Devices, ids: Sequence[str]) -> None:
    """Put the root, proven, and the devices into the registry of a hub that does not run yet."""
    now = datetime.now(UTC)
    key_file = private_folder(data) / "secrets.key"
    if not key_file.exists():
        write_whole(key_file, os.urandom(32))

    def put_root(tables: AllTables) -> None:
        tables.cas.put(RegisteredCA(DEFAULT_HUB, "hub", CAName("bench"), devices.root, "possession", 1, now, now))

    def put_devices(tables: AllTables, some: Sequence[str]) -> None:
        tables.identities.put_many(
            Identity(DEFAULT_HUB, IdentityName(DeviceId(each)), "638671234567890123", 1, ByAuthority(), now)
            for each in some
        )

    async def write() -> None:
        store = SqliteStore(data / "registry.db", secrets_key=key_file.read_bytes(), bus=LocalBus())
        try:
            await store.write(put_root)
            for at in range(0, len(ids), 10_000):
                some = ids[at : at + 10_000]
                await store.write(lambda tables, some=some: put_devices(tables, some))  # type: ignore[misc]  # mypy infers no lambda with a default
        finally:
            store.close()

    asyncio.run(write())


@contextmanager
def start_moorage(data: Path, *flags: str) -> Iterator[Server]:
    """`moorage up` on `data`, ready."""
    command = [str(Path(sys.executable).with_name("moorage")), "up", "--data", str(data), "--json"]
    command += [
        "--mqtt-port",
        "0",
        "--https-port",
        "0",
        "--amqp-port",
        "0",
        "--amqp-plain-port",
        "0",
        "--web-port",
        "0",
        *flags,
    ]
    log = data.with_name(data.name + ".log")
    with _running(command, log) as process:
        began = time.monotonic()
        while not (line := _first_object(log)):
            if process.poll() is not None or time.monotonic() > began + READY_WITHIN_S:
                fail(f"moorage did not get ready:\n{log.read_text()[-2000:]}")
            time.sleep(0.005)
        yield Server("moorage", line["mqttPort"], process.pid, data / "server", time.monotonic() - began)


def _first_object(log: Path) -> dict[str, Any] | None:
    for line in log.read_text().splitlines(keepends=True):
        if line.startswith("{") and line.endswith("\n"):
            found: dict[str, Any] = json.loads(line)
            return found
    return None


@contextmanager
def start_mosquitto(folder: Path, devices: Devices, certificate: Path) -> Iterator[Server]:
    """Debian's Mosquitto with the certificate that `certificate` holds; it trusts the devices' root."""
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin") or fail(_NO_MOSQUITTO)
    folder.mkdir()
    port = free_port()
    settings = folder / "mosquitto.conf"
    settings.write_text(
        f"listener {port} 127.0.0.1\n"
        f"cafile {devices.root_file}\n"
        f"certfile {certificate / 'server_cert.pem'}\n"
        f"keyfile {certificate / 'server_key.pem'}\n"
        # Who the device is comes from its certificate, as with us; without a user name file that needs `anonymous`.
        "require_certificate true\nuse_identity_as_username true\nallow_anonymous true\n"
        "max_inflight_messages 100\nmax_queued_messages 10000\npersistence false\nuser root\n"
    )
    log = folder / "mosquitto.log"
    with _running([program, "-c", str(settings)], log) as process:
        began = time.monotonic()
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > began + READY_WITHIN_S:
                fail(f"mosquitto did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield Server("mosquitto", port, process.pid, certificate, time.monotonic() - began)


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process on the servers' core; whatever happens, it is gone after."""

    def prepare() -> None:
        os.sched_setaffinity(0, {SERVER_CORE})
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, preexec_fn=prepare)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def load(what: str, server: Server, devices: Devices, *flags: str) -> dict[str, Any]:
    """Run bench/load.c against `server`; what it printed. Raises `BenchError` when anything at all went wrong."""
    try:
        run = subprocess.run(
            load_command(what, server, devices, flags),
            capture_output=True,
            text=True,
            timeout=LOAD_WITHIN_S,
            preexec_fn=_on_load_core,
            check=False,
        )
    except subprocess.TimeoutExpired:
        fail(f"the load '{what}' on {server.name} did not end within {LOAD_WITHIN_S:.0f} s")
    if run.returncode != 0:
        fail(f"the load '{what}' on {server.name} failed: {run.stderr.strip()}")
    result: dict[str, Any] = json.loads(run.stdout)
    return result


@contextmanager
def load_in_background(what: str, server: Server, devices: Devices, *flags: str) -> Iterator[None]:
    """The same, for its effect alone: it goes on until the `with` ends, or until the server is gone."""
    process = subprocess.Popen(
        load_command(what, server, devices, flags),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=_on_load_core,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def load_command(what: str, server: Server, devices: Devices, flags: Sequence[str]) -> list[str]:
    where = ["-p", str(server.port), "-P", str(server.pid), "-d", str(devices.folder)]
    return [str(_LOADER.absolute()), what, *where, *flags]


def _on_load_core() -> None:
    os.sched_setaffinity(0, {LOAD_CORE})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True
