"""Programs on npm packages as they are, beside a hub: certificates by `pem`, devices by azure-iot-device.

The programs are the JavaScript files of this folder; each prints one JSON document a line.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from moorage.cli.hub_client import segment
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificate
from moorage.pki.names import certificate_files, file_stem
from tests.e2e.sdk import Bench, split
from tests.hubs import Hub

__all__ = ["HERE", "Crowd", "Files", "Program", "Settings", "Workshop", "install_packages"]

# Environment variables of a program.
Settings = dict[str, str]

HERE = Path(__file__).parent
# A program loads some 250 packages before it says anything, on a machine that runs a hub and other tests besides.
PATIENCE_S = 60.0


def install_packages() -> None:
    """`npm ci`, once for each state of package.json and its lock. The Makefile does the same, with the same mark."""
    installed = HERE / "node_modules" / ".package-lock.json"
    wanted = max((HERE / name).stat().st_mtime for name in ("package.json", "package-lock.json"))
    if installed.exists() and installed.stat().st_mtime >= wanted:
        return
    npm = shutil.which("npm")
    assert npm is not None
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    run = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, f"npm ci ended with {run.returncode}:\n{run.stdout}{run.stderr}"
    installed.touch()


class Files(NamedTuple):
    """What the generator writes for one name."""

    cert: Path
    key: Path
    fullchain: Path
    pfx: Path

    @property
    def certificate(self) -> Certificate:
        return parse_certificate(self.cert.read_bytes())


class Program:
    """A running program."""

    def __init__(self, process: subprocess.Popen[str], stderr: Path) -> None:
        self._process = process
        self._stderr = stderr
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._asked = itertools.count()
        assert process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(process.stdout,))
        self._reader.start()

    def next(self, key: str) -> Any:
        """What the next document with `key` says under it. An error that comes first fails."""
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE_S)
            except queue.Empty:
                raise AssertionError(f"no {key!r} within {PATIENCE_S:g} s; {self._complaints()}") from None
            assert line is not None, f"it ended without {key!r}; {self._complaints()}"
            document = json.loads(line)
            if key in document:
                return document[key]
            assert "error" not in document, f"instead of {key!r} came {document}; {self._complaints()}"

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Write one question to it; its answer, an error or not. It repeats the number under `asked`."""
        assert self._process.stdin is not None
        number = next(self._asked)
        self._process.stdin.write(json.dumps({"asked": number, **question}) + "\n")
        self._process.stdin.flush()
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE_S)
            except queue.Empty:
                raise AssertionError(f"no answer to {question} within {PATIENCE_S:g} s; {self._complaints()}") from None
            assert line is not None, f"it ended at {question}; {self._complaints()}"
            # What comes late is the answer to a question that nobody waits for any more.
            if (answer := json.loads(line))["asked"] == number:
                return dict(answer)

    def end(self) -> None:
        """Close its input, and expect that it ends well."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        status = self._process.wait(PATIENCE_S)
        assert status == 0, f"it ended with {status}; {self._complaints()}"

    def close(self) -> None:
        """Whatever state it is in, it is gone afterwards."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _complaints(self) -> str:
        return f"its standard error:\n{self._stderr.read_text()[-4000:]}"


class Crowd(Program):
    """A running program that is asked many things at once, from any thread."""

    def __init__(self, process: subprocess.Popen[str], stderr: Path) -> None:
        self._answers: dict[int, Future[dict[str, Any]]] = {}
        self._asking = threading.Lock()
        super().__init__(process, stderr)

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        answer: Future[dict[str, Any]] = Future()
        with self._asking:
            number = next(self._asked)
            self._answers[number] = answer
            self._process.stdin.write(json.dumps({"asked": number, **question}) + "\n")
            self._process.stdin.flush()
        try:
            return answer.result(PATIENCE_S)
        except TimeoutError:
            raise AssertionError(f"no answer to {question} within {PATIENCE_S:g} s; {self._complaints()}") from None

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            document = json.loads(line)
            self._answers.pop(document["asked"]).set_result(document)
        for answer in list(self._answers.values()):
            answer.set_exception(AssertionError(f"the program ended; {self._complaints()}"))


P = TypeVar("P", bound=Program)


class Workshop:
    """A hub, a folder of the generator's files, and the programs."""

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub = hub
        self.bench = Bench(hub, folder)
        self.folder = folder
        self._made: dict[str, Files] = {}
        self._numbers = itertools.count()
        self._open = ExitStack()
        # One program for all devices that are provisioned: a process a device takes a second of a core.
        self._provisioned: Crowd | None = None

    def close(self) -> None:
        self._open.close()

    # -- certificates --------------------------------------------------------------------------------------------------

    def make(self, kind: str, name: str, issuer: str = "") -> Files:
        """Run the generator as the tutorials do, once for each name: `make("device", "sample-device-01", "myroot")`."""
        if name not in self._made:
            self.run("make_certificates.js", kind, name, *([issuer] if issuer else []))
            self._made[name] = self.files(name)
        return self._made[name]

    def put_away(self, name: str) -> Files:
        """Its files in another folder; `make` makes `name` anew."""
        folder = self.folder / f"old-{next(self._numbers)}"
        folder.mkdir()
        return Files(*(file.rename(folder / file.name) for file in self._made.pop(name)))

    def make_verification(self, ca: Files, code: str) -> Files:
        self.run("make_certificates.js", "verification", "--ca", ca.cert.name, "--key", ca.key.name, "--nonce", code)
        return self.files("verification")

    def files(self, name: str) -> Files:
        return Files(*(self.folder / file for file in certificate_files(file_stem(name))))

    # -- the hub's side ------------------------------------------------------------------------------------------------

    def code(self, ca_name: str) -> str:
        """A new verification code for a registered CA."""
        (document,) = self.hub.ask("ca", "code", ca_name)
        return str(document["properties"]["verificationCode"])

    def register(self, ca_name: str) -> Files:
        """Make a root, upload it, and prove it with its key."""
        root = self.make("root", ca_name)
        self.hub.moorage("ca", "add", str(root.cert), "--prove-with", str(root.key))
        return root

    def call(self, name: str, method: str, payload: Any) -> Any:
        """Call a method of a device, or `device/module`, once it listens; its answer."""
        patience = {"responseTimeoutInSeconds": 10, "connectTimeoutInSeconds": 10}
        body = {"methodName": method, "payload": payload, **patience}
        return self.hub.request("POST", f"{_twin(name)}/methods", body=body)

    def change_desired(self, name: str, patch: dict[str, Any]) -> None:
        self.hub.request("PATCH", _twin(name), body={"properties": {"desired": patch}})

    # -- programs ------------------------------------------------------------------------------------------------------

    def run(
        self, program: str, *arguments: str, settings: Settings | None = None, given: str = "", code: int = 0
    ) -> list[dict[str, Any]]:
        """Run a program to its end; what it printed."""
        run = subprocess.run(
            ["node", str(HERE / program), *arguments],
            cwd=self.folder,
            env=self._environment(settings or {}),
            input=given,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
            check=False,
        )
        assert run.returncode == code, f"{program} ended with {run.returncode}:\n{run.stdout}{run.stderr}"
        return [json.loads(line) for line in run.stdout.splitlines()]

    @contextmanager
    def start(self, program: str, settings: Settings) -> Iterator[Program]:
        """A program for the length of a `with`."""
        with self._started(Program, program, settings) as running:
            yield running

    @contextmanager
    def crowd(self, program: str) -> Iterator[Crowd]:
        with self._started(Crowd, program, {}) as running:
            yield running

    @contextmanager
    def _started(self, kind: type[P], program: str, settings: Settings) -> Iterator[P]:
        stderr = self.folder / f"{program}.{next(self._numbers)}.txt"
        with stderr.open("w") as sink:
            process = subprocess.Popen(
                ["node", str(HERE / program)],
                cwd=self.folder,
                env=self._environment(settings),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
            )
        running = kind(process, stderr)
        try:
            yield running
        finally:
            running.close()

    def provision(self, registration_id: str, cert: Path, key: Path) -> list[dict[str, Any]]:
        """Run the tutorials' device; what it did, with its error last where there was one."""
        settings = {
            "IOTHUB_DEVICE_DPS_ENDPOINT": self.hub.hostname,
            "IOTHUB_DEVICE_DPS_ID_SCOPE": self.hub.id_scope,
            "IOTHUB_DEVICE_DPS_DEVICE_ID": registration_id,
            "IOTHUB_DEVICE_X509_CERT": str(cert),
            "IOTHUB_DEVICE_X509_KEY": str(key),
        }
        if self._provisioned is None:
            self._provisioned = self._open.enter_context(self.crowd("provisioned_device.js"))
        return list(self._provisioned.ask({"settings": settings})["said"])

    def by_certificate(self, name: str, files: Files, *, shared_key: str = "") -> Settings:
        """Settings of a device, or `device/module`, that has a certificate, and a key in its connection string."""
        device_id, module_id = split(name)
        parts = [f"HostName={self.hub.hostname}", f"DeviceId={device_id}"]
        parts += [f"ModuleId={module_id}"] if module_id else []
        parts += [f"SharedAccessKey={shared_key}"] if shared_key else []
        return {
            "IOTHUB_DEVICE_CONNECTION_STRING": ";".join([*parts, "x509=true"]),
            "IOTHUB_DEVICE_X509_CERT": str(files.cert),
            "IOTHUB_DEVICE_X509_KEY": str(files.key),
        }

    # -- inside --------------------------------------------------------------------------------------------------------

    def _environment(self, settings: Settings) -> Settings:
        """The developer's own without what changes Node, and with trust in the hub unless `settings` say otherwise.

        `CI` goes too: where it is set, the `pem` package prints its own log among a program's answers.
        """
        own = {
            name: value
            for name, value in os.environ.items()
            if name != "CI" and not name.startswith(("NODE_", "SSL_", "IOTHUB_"))
        }
        return {**own, "NODE_EXTRA_CA_CERTS": str(self.hub.ca_bundle), **settings}


def _twin(name: str) -> str:
    device_id, module_id = split(name)
    path = f"/twins/{segment(device_id)}"
    return f"{path}/modules/{segment(module_id)}" if module_id else path
