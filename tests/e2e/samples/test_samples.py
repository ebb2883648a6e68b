"""The programs in samples/ do what they say, as a user starts them: environment variables, certificate, locked key."""

from __future__ import annotations

import importlib.metadata
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from tests import certs
from tests.certs import Issued
from tests.docs.test_guides import blocks_of, play
from tests.e2e.node.workshop import HERE as NODE
from tests.e2e.node.workshop import Settings, Workshop
from tests.e2e.sdk import pinned, until
from tests.e2e.test_provisioning import enroll_group, x509

SAMPLES = NODE.parents[2] / "samples"
MODEL_ID = "dtmi:com:example:TemperatureController;2"
PASS_PHRASE = "1234"
PATIENCE_S = 60.0


# -- programs ----------------------------------------------------------------------------------------------------------


class Running:
    """A program that has begun."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._said: list[str] = []
        assert process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(process.stdout,))
        self._reader.start()

    def until(self, *beginnings: str) -> None:
        """Wait until it has printed a line with each of these beginnings, in any order."""
        missing = set(beginnings)
        while missing := {each for each in missing if not any(line.startswith(each) for line in self._said)}:
            try:
                line = self._lines.get(timeout=PATIENCE_S)
            except queue.Empty:
                raise AssertionError(f"{missing} did not come; it said {self._said}") from None
            assert line, f"it ended without {missing}; it said {self._said}"
            self._said.append(line)

    def interrupt(self) -> None:
        """As Ctrl+C does; it ends well."""
        self._process.send_signal(signal.SIGINT)
        status = self._process.wait(PATIENCE_S)
        self._reader.join()
        assert status == 0, f"it ended with {status}; it said {self._said}"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            self._lines.put(line)
        self._lines.put("")


def command(language: str, program: str) -> list[str]:
    if language == "node":
        return ["node", str(SAMPLES / "node" / f"{program}.js")]
    return [sys.executable, str(SAMPLES / "python" / f"{program}.py")]


def environment(workshop: Workshop, settings: Settings) -> Settings:
    clean = ("NODE_", "SSL_", "IOTHUB_", "MOORAGE_", "DPS_", "PROVISIONING_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(clean)}
    trust = {"NODE_EXTRA_CA_CERTS": str(workshop.hub.ca_bundle), "CA_BUNDLE": str(workshop.hub.ca_bundle)}
    return {**own, **trust, "NODE_PATH": str(NODE / "node_modules"), "INTERVAL": "0.2", **settings}


@contextmanager
def running(workshop: Workshop, language: str, program: str, settings: Settings) -> Iterator[Running]:
    process = subprocess.Popen(
        command(language, program),
        env=environment(workshop, settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    running = Running(process)
    try:
        yield running
    finally:
        running.close()


# -- devices -----------------------------------------------------------------------------------------------------------


def locked(workshop: Workshop, issued: Issued) -> Settings:
    """Certificate files as settings name them, the key under a pass phrase."""
    chain, key = workshop.bench.files(issued)
    encryption = BestAvailableEncryption(PASS_PHRASE.encode())
    key.write_bytes(issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return {"X509_CERT_FILE": str(chain), "X509_KEY_FILE": str(key), "PASS_PHRASE": PASS_PHRASE}


def by_connection_string(workshop: Workshop, name: str) -> Settings:
    """With a key in it that is none, as documentation writes it."""
    issued = certs.self_signed(name)
    workshop.bench.create(name, pinned(issued.certificate.sha1))
    text = f"HostName={workshop.hub.hostname};DeviceId={name};SharedAccessKey=eHh4eHh4;x509=true"
    return {**locked(workshop, issued), "IOTHUB_DEVICE_CONNECTION_STRING": text}


def by_provisioning(workshop: Workshop, name: str) -> Settings:
    root = certs.root(f"Samples Root of {name}")
    enroll_group(workshop.bench, f"group-{name}", x509("signingCertificates", root))
    line = certs.intermediate(root, "Samples Line")
    return {
        **locked(workshop, certs.device(line, name)),
        "PROVISIONING_HOST": workshop.hub.hostname,
        "PROVISIONING_IDSCOPE": workshop.hub.id_scope,
        "DPS_X509_REGISTRATION_ID": name,
    }


# -- what they do ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "protocol", "credentials"),
    [
        ("node", "mqtt-ws", by_connection_string),
        ("node", "amqp", by_provisioning),
        ("node", "amqp-ws", by_connection_string),
        ("node", "http", by_provisioning),
        ("python", "mqtt-ws", by_provisioning),
    ],
)
def test_the_simple_sample_sends_and_takes_messages(
    workshop: Workshop,
    new_id: Callable[..., str],
    language: str,
    protocol: str,
    credentials: Callable[[Workshop, str], Settings],
) -> None:
    name, bench = new_id(), workshop.bench
    settings = {**credentials(workshop, name), "PROTOCOL": protocol}
    with running(workshop, language, "simple_sample_device_x509", settings) as sample:
        sample.until("connected", "sent ")
        body = {"body": "slower"}
        workshop.hub.request("POST", f"/moorage/v1/devices/{name}/messages/devicebound", body=body)
        sample.until("message: slower")
        device = f"/devices/{name}"
        until("it is settled", lambda: workshop.hub.request("GET", device)["cloudToDeviceMessageCount"] == 0)
        sample.interrupt()
    messages = bench.stored(name)
    assert all(20 <= message["body"]["temperature"] <= 30 for message in messages)
    assert messages[0]["properties"].keys() == {"temperatureAlert"}
    door = {"http": "https"}.get(protocol, protocol)
    doors = {attempt["door"] for attempt in workshop.hub.attempts(device=name)}
    assert doors == {f"hub.{door}"} | ({f"dps.{door}"} if credentials is by_provisioning else set())


@pytest.mark.parametrize(
    ("language", "protocol", "credentials"),
    [
        ("node", "mqtt", by_provisioning),
        ("node", "mqtt-ws", by_connection_string),
        ("python", "mqtt", by_connection_string),
    ],
)
def test_the_temperature_controller_speaks_plug_and_play(
    workshop: Workshop,
    new_id: Callable[..., str],
    language: str,
    protocol: str,
    credentials: Callable[[Workshop, str], Settings],
) -> None:
    name, hub = new_id(), workshop.hub
    settings = {**credentials(workshop, name), "PROTOCOL": protocol}

    def reported() -> Any:
        return workshop.bench.twin(name)["properties"]["reported"]

    def acknowledged(component: str) -> Any:
        return reported().get(component, {}).get("targetTemperature", {})

    def call(component: str, command: str, payload: Any = None) -> Any:
        return workshop.call(name, f"{component}*{command}" if component else command, payload)

    early = credentials is by_connection_string
    if early:
        # While the device is not here.
        workshop.change_desired(name, {"thermostat1": {"__t": "c", "targetTemperature": 30}})
    with running(workshop, language, "pnp_temperature_controller", settings) as sample:
        sample.until("connected")
        if early:
            expected = {"value": 30, "ac": 200, "av": 2, "ad": "done"}
            until("it is acknowledged", lambda: acknowledged("thermostat1") == expected)
        twin = hub.request("GET", f"/digitaltwins/{name}")
        assert twin["$metadata"]["$model"] == MODEL_ID
        assert reported()["deviceInformation"]["manufacturer"] == "Example Instruments"
        assert reported()["thermostat2"]["__t"] == "c"

        # Commands come through when it has subscribed to all there is.
        report = call("thermostat1", "getMaxMinReport")
        assert report["status"] == 200
        assert report["payload"]["minTemp"] <= report["payload"]["avgTemp"] <= report["payload"]["maxTemp"]
        assert call("thermostat2", "getMaxMinReport", "2000-01-01T00:00:00Z")["status"] == 200
        assert call("thermostat2", "getMaxMinReport", "2999-01-01T00:00:00Z")["status"] == 404
        assert call("thermostat2", "getMaxMinReport", "yesterday") == {
            "status": 400,
            "payload": "since has to be a time",
        }

        patch = [{"op": "add", "path": "/thermostat2", "value": {"targetTemperature": 40.5, "$metadata": {}}}]
        hub.request("PATCH", f"/digitaltwins/{name}", body=patch)
        version = 3 if early else 2
        expected = {"value": 40.5, "ac": 200, "av": version, "ad": "done"}
        until("it is acknowledged", lambda: acknowledged("thermostat2") == expected)
        workshop.change_desired(name, {"thermostat2": {"__t": "c", "targetTemperature": "hot"}})
        until("it is refused", lambda: acknowledged("thermostat2").get("ac") == 400)
        assert acknowledged("thermostat2")["value"] == 40.5
        assert call("", "reboot", 0) == {"status": 200, "payload": None}

        def components() -> set[str]:
            messages = workshop.bench.stored(name)
            assert all(message["systemProperties"]["dt-dataschema"] == MODEL_ID for message in messages)
            return {message["systemProperties"].get("dt-subject", "") for message in messages}

        until("every component has sent", lambda: components() == {"thermostat1", "thermostat2", ""})
        sample.interrupt()


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def refused(workshop: Workshop, language: str, settings: Settings) -> str:
    """What it says when it cannot begin: one line, and exit code 1."""
    run = subprocess.run(
        command(language, "simple_sample_device_x509"),
        env=environment(workshop, settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (run.returncode, run.stdout) == (1, ""), run
    (line,) = run.stderr.splitlines()
    return line


@pytest.mark.parametrize("language", ["node", "python"])
@pytest.mark.parametrize("pass_phrase", ["12345", ""], ids=["wrong", "none"])
def test_a_wrong_pass_phrase_is_said_to_be_one(
    workshop: Workshop, new_id: Callable[..., str], language: str, pass_phrase: str
) -> None:
    settings = {**by_connection_string(workshop, new_id()), "PASS_PHRASE": pass_phrase}
    line = refused(workshop, language, settings)
    assert line == f"{settings['X509_KEY_FILE']} cannot be used: PASS_PHRASE does not open it"


@pytest.mark.parametrize("language", ["node", "python"])
def test_other_settings_that_are_wrong_are_named(workshop: Workshop, new_id: Callable[..., str], language: str) -> None:
    settings = by_connection_string(workshop, new_id())
    other = locked(workshop, certs.self_signed("other", kind="ec-p384"))
    line = refused(workshop, language, {**settings, "X509_KEY_FILE": other["X509_KEY_FILE"]})
    assert line.startswith(f"{other['X509_KEY_FILE']} cannot be used: ") and "PASS_PHRASE" not in line
    assert "PROTOCOL is smoke, and has to be one of mqtt," in refused(
        workshop, language, {**settings, "PROTOCOL": "smoke"}
    )
    without = {name: value for name, value in settings.items() if name != "IOTHUB_DEVICE_CONNECTION_STRING"}
    assert refused(workshop, language, without).endswith(" is not set")


def test_a_refusal_is_one_line_that_says_where_to_look(workshop: Workshop, new_id: Callable[..., str]) -> None:
    known = by_connection_string(workshop, new_id())
    stranger = locked(workshop, certs.self_signed("stranger"))
    line = refused(workshop, "python", {**known, **stranger})
    assert line.endswith("; see: moorage explain")


# -- the page and the versions -----------------------------------------------------------------------------------------


def test_the_page_does_what_it_says(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(SAMPLES)
    # Where the page says that the hub is.
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "hub").symlink_to(workshop.hub.data, target_is_directory=True)
    own = environment(workshop, {})
    own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    play(blocks_of((SAMPLES / "README.md").read_text()), tmp_path, own, workshop.hub.hostname)


def test_the_samples_ask_for_the_versions_that_are_tested() -> None:
    tested = json.loads((NODE / "package.json").read_text())["dependencies"]
    asked = json.loads((SAMPLES / "node" / "package.json").read_text())["dependencies"]
    assert asked == {name: tested[name] for name in asked}
    lock = json.loads((SAMPLES / "node" / "package-lock.json").read_text())["packages"]
    assert lock[""]["dependencies"] == asked
    assert all(lock[f"node_modules/{name}"]["version"] == version for name, version in asked.items())
    (line,) = (SAMPLES / "python" / "requirements.txt").read_text().splitlines()
    assert line == f"azure-iot-device=={importlib.metadata.version('azure-iot-device')}"
