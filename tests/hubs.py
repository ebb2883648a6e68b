"""A hub as a process of its own, for tests: `moorage up` on a data folder, killed and started again as needed.

    with running_hub(tmp_path / "hub") as hub:          # free ports, on 127.0.0.1
        hub.moorage("device", "create", "pump-01")      # a command as a user types it; what it printed
        hub.ask("device", "show", "pump-01")            # the same with --json: the documents it printed, parsed
        hub.request("GET", "/twins/pump-01")            # the service's REST as the hub's owner
        hub.kill(); hub.start()                         # as `kill -9`; then the same folder and the same ports

    with sdk_hub(tmp_path / "hub") as hub: ...          # on 8883, for SDKs that cannot be told a port

`stop`, and with it the end of the `with`, expects exit status 0 and a log without a traceback or an error.
"""

from __future__ import annotations

import ipaddress
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from moorage.cli.hub_client import HubClient
from moorage.hub_info import HubInfo, read_hub_info

__all__ = [
    "HTTPS_PORT",
    "SDK_MQTT_PORT",
    "Hub",
    "free_port",
    "may_listen",
    "own_address",
    "running_hub",
    "sdk_hub",
    "transfer_flags",
]

# The only MQTT port that the device SDKs know (contract/devices.md 1).
SDK_MQTT_PORT = 8883
# The only one on which devices speak HTTPS.
HTTPS_PORT = 443
SDK_AMQP_PORT = 5671
SDK_AMQP_PLAIN_PORT = 5672

_MOORAGE = (sys.executable, "-c", "import sys; from moorage.cli import main; sys.exit(main())")
_PATIENCE_S = 60.0


class Hub:
    """One data folder and the process that serves it. `log` is everything it ever wrote, over all its starts."""

    def __init__(
        self,
        data: Path,
        *,
        flags: Sequence[str] = (),
        mqtt_port: int = 0,
        https_port: int = 0,
        amqp_port: int = 0,
        amqp_plain_port: int = 0,
        web_port: int = 0,
    ) -> None:
        self.data = data
        self.log = data.with_name(f"{data.name}.log")
        self._flags = tuple(flags)
        self._ports = {"mqtt": mqtt_port, "https": https_port, "amqp": amqp_port}
        taken = set(self._ports.values())
        for name, port in self._ports.items():
            if not port:
                self._ports[name] = free_port(but=taken)
                taken.add(self._ports[name])
        self._ports["amqp-plain"] = amqp_plain_port
        self._ports["web"] = web_port
        self._process: subprocess.Popen[bytes] | None = None
        self._info: HubInfo | None = None
        self._client: HubClient | None = None

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> float:
        """Start it and wait until it says that it is ready; returns the seconds this took."""
        assert self._process is None, "it runs already"
        began = time.monotonic()
        written = self.log.stat().st_size if self.log.exists() else 0
        self._process = self._launch()
        while not (ready := self._ready_line(written)):
            if self._process.poll() is not None or time.monotonic() > began + _PATIENCE_S:
                self.kill()
                raise AssertionError(f"the hub did not get ready; its log:\n{self.log_text()[-8000:]}")
            time.sleep(0.01)
        took = time.monotonic() - began
        # A client that retries finds the next start where it found this one.
        self._ports |= {"mqtt": ready["mqttPort"], "https": ready["httpsPort"], "amqp": ready["amqpPort"]}
        self._info = read_hub_info(self.data)
        return took

    def start_and_kill(self, *, after_s: float) -> None:
        """SIGKILL it so long after it was launched, ready or not."""
        process = self._launch()
        time.sleep(after_s)
        process.kill()
        process.wait()

    def stop(self, *, quiet_log: bool = True) -> None:
        """SIGTERM, and expect that it ends well; without `quiet_log` it may have had to complain."""
        process = self._running()
        self._forget()
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the hub did not stop; its log:\n{self.log_text()[-8000:]}") from None
        assert status == 0, f"the hub ended with {status}; its log:\n{self.log_text()[-8000:]}"
        if quiet_log:
            self.expect_quiet_log()

    def kill(self) -> None:
        """SIGKILL: nothing of it gets to say good-bye."""
        process = self._running()
        self._forget()
        process.kill()
        process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    @property
    def was_started(self) -> bool:
        """Started and neither stopped nor killed since; it may have died by itself, which `stop` tells."""
        return self._process is not None

    @property
    def pid(self) -> int:
        return self._running().pid

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def expect_quiet_log(self) -> None:
        """Nothing went wrong inside: no traceback, no line of level ERROR or CRITICAL."""
        lines = self.log_text().splitlines()
        wrong = [number for number, line in enumerate(lines) if "Traceback" in line or _is_error(line)]
        assert not wrong, "the hub's log holds an error:\n" + "\n".join(lines[max(0, wrong[0] - 3) : wrong[0] + 40])

    # -- where it is ---------------------------------------------------------------------------------------------------

    @property
    def info(self) -> HubInfo:
        assert self._info is not None, "it was never started"
        return self._info

    @property
    def hostname(self) -> str:
        """What devices are told, both as hub and as provisioning host."""
        return self.info.hostname

    @property
    def ca_bundle(self) -> Path:
        return self.info.ca_bundle

    @property
    def trust(self) -> str:
        """The text of the CA bundle: `server_verification_cert` of the SDKs."""
        return self.ca_bundle.read_text()

    @property
    def id_scope(self) -> str:
        return self.info.id_scope

    @property
    def connection_string(self) -> str:
        return self.info.hub_connection_string.reveal()

    @property
    def dps_connection_string(self) -> str:
        return self.info.dps_connection_string.reveal()

    def device_connection_string(self, document: dict[str, Any], *, secondary: bool = False) -> str:
        """For a device or module with keys, from its registry document."""
        keys = document["authentication"]["symmetricKey"]
        module = f";ModuleId={document['moduleId']}" if document.get("moduleId") else ""
        key = keys["secondaryKey" if secondary else "primaryKey"]
        return f"HostName={self.hostname};DeviceId={document['deviceId']}{module};SharedAccessKey={key}"

    # -- commands and REST ---------------------------------------------------------------------------------------------

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command on this hub, to its end, whatever that is."""
        return subprocess.run(
            [*_MOORAGE, *arguments],
            cwd=cwd,
            env={**_environment(), "MOORAGE_DATA": str(self.data)},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )

    def moorage(self, *arguments: str, cwd: Path | None = None, code: int = 0) -> str:
        """As `run`; what it printed, on standard error when `code` is not 0."""
        run = self.run(*arguments, cwd=cwd)
        assert run.returncode == code, f"moorage {' '.join(arguments)} ended with {run.returncode}: {run.stderr}"
        return run.stderr if code else run.stdout

    def ask(self, *arguments: str, cwd: Path | None = None) -> list[Any]:
        """The documents that a command prints with --json, one a line: `(device,) = hub.ask("device", "show", ID)`."""
        return [json.loads(line) for line in self.moorage(*arguments, "--json", cwd=cwd).splitlines()]

    @property
    def owner(self) -> HubClient:
        """The CLI's own client; made once for every start."""
        if self._client is None:
            self._client = HubClient(self.data)
        return self._client

    def request(self, method: str, path: str, **more: Any) -> Any:
        """`HubClient.request`: the parsed answer; raises `Refusal`."""
        return self.owner.request(method, path, **more)

    def attempts(self, **query: str) -> list[dict[str, Any]]:
        """What `moorage explain` prints, newest first; by `device=`, `thumbprint=` or `tracking=`."""
        return list(self.request("GET", "/moorage/v1/attempts", query=query)["attempts"])

    # -- inside --------------------------------------------------------------------------------------------------------

    def _launch(self) -> subprocess.Popen[bytes]:
        ports = [flag for name, port in self._ports.items() for flag in (f"--{name}-port", str(port))]
        command = [*_MOORAGE, "up", "--json", "--data", str(self.data), *ports, *self._flags]
        with self.log.open("ab") as sink:
            return subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=_environment())

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it does not run"
        return self._process

    def _forget(self) -> None:
        self._process = None
        if self._client is not None:
            self._client.close()
            self._client = None

    def _ready_line(self, since: int) -> dict[str, Any] | None:
        with self.log.open("rb") as file:
            file.seek(since)
            for line in file:
                if line.startswith(b'{"ready"') and line.endswith(b"\n"):
                    return dict(json.loads(line))
        return None


@contextmanager
def running_hub(data: Path, *flags: str, **ports: int) -> Iterator[Hub]:
    """A hub on `data` for the length of a `with`; `flags` are more flags of `moorage up`."""
    hub = Hub(data, flags=flags, **ports)
    hub.start()
    try:
        yield hub
    except BaseException:
        if hub.was_started:
            hub.kill()
        raise
    if hub.was_started:
        hub.stop()


@contextmanager
def sdk_hub(data: Path, *flags: str, https_port: int = 0, web_port: int = 0) -> Iterator[Hub]:
    """As `running_hub`, on the ports that SDKs expect and an address that no other hub has.

    Its host name is that address, which every SDK takes and every resolver leaves alone.
    """
    ports = {"mqtt_port": SDK_MQTT_PORT, "amqp_port": SDK_AMQP_PORT, "amqp_plain_port": SDK_AMQP_PLAIN_PORT}
    address = own_address(*ports.values(), *([https_port] if https_port else []))
    where = ("--bind", address, "--hostname", address)
    with running_hub(data, *where, *flags, **ports, https_port=https_port, web_port=web_port) as hub:
        yield hub


def may_listen(port: int) -> bool:
    """Whether this user may have the port at all, whoever has it now."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            return False
        except OSError:
            # Taken; a hub has an address of its own.
            return True
    return True


def transfer_flags(folder: Path) -> tuple[str, ...]:
    """Flags of a hub that imports from and exports to folders (as `file:` URIs) in `transfers`, beside its data."""
    transfers = folder / "transfers"
    transfers.mkdir()
    return ("--transfer-folder", str(transfers))


def own_address(*ports: int) -> str:
    """A loopback address on which all `ports` are free: Linux has 127/8, other systems 127.0.0.1 alone."""
    lowest = int(ipaddress.IPv4Address("127.64.0.1"))
    # Not the seeded generator that tests share: two runs with one seed would choose alike.
    choose = random.SystemRandom()
    candidates = [str(ipaddress.IPv4Address(lowest + choose.randrange(2**20))) for _ in range(8)]
    refused = []
    for address in (*candidates, "127.0.0.1"):
        try:
            for port in ports:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((address, port))
        except OSError as error:
            refused.append(f"{address}: {error}")
            continue
        return address
    raise AssertionError(f"no loopback address has the ports {ports} free:\n" + "\n".join(refused))


def free_port(*, but: Set[int] = frozenset()) -> int:
    """A port that nobody listens on, below those that systems give to the client's end of a connection.

    One of those may be a client's when a hub that was killed comes back for it; even that of a client which knocks at
    it meanwhile, and so connects to itself.
    """
    for port in random.SystemRandom().sample(range(10_000, 32_000), 50):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("", port))
                if port not in but:
                    return port
    raise AssertionError("fifty ports were tried, and none is free")


def _environment() -> dict[str, str]:
    """Without a developer's own hub in it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")}


def _is_error(line: str) -> bool:
    # run_hub's format: date, time, level, name, message.
    words = line.split(" ", 3)
    return len(words) == 4 and words[2] in ("ERROR", "CRITICAL")
