"""The main job, played from an empty folder: from a company's root certificate to telemetry of its widgets on disk.

Every command in the transcript is run as it is shown. The devices run the unmodified azure-iot-device, which looks for
MQTT on port 8883 and cannot be told another; so that port has to be free. Any step that does not come out as told ends
the demo with exit code 1, the hub's own log, and the reason.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
from azure.iot.device import (
    X509,
    IoTHubDeviceClient,
    Message,
    MethodResponse,
    ProvisioningDeviceClient,
)
from azure.iot.device.exceptions import ClientError

from moorage.pki.names import certificate_files, file_stem

WIDGETS = ("smart-x-widget-1", "smart-x-widget-2", "smart-x-widget-3")
STRANGER = "smart-x-widget-4"
MQTT_PORT = 8883
PATIENCE_S = 30.0


class StepFailed(Exception):
    """Something did not come out as the transcript tells."""


def fail(message: str) -> NoReturn:
    raise StepFailed(message)


def expect(holds: bool, message: str) -> None:
    if not holds:
        fail(message)


class Transcript:
    """Runs commands as it shows them, in one folder, on one hub."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._moorage = Path(sys.executable).with_name("moorage")
        self._environ = {**os.environ, "MOORAGE_DATA": str(folder / "hub")}

    def tell(self, text: str) -> None:
        click.echo(click.style(f"\n{text}", bold=True))

    def note(self, text: str) -> None:
        click.echo(f"    {text}")

    def run(self, command: str, *, code: int = 0) -> str:
        """Show `command`, run it, show what it said; returns its standard output."""
        click.echo(click.style(f"  $ {command}", fg="cyan"))
        run = self.moorage(command)
        for line in (run.stdout + run.stderr).splitlines():
            self.note(line)
        expect(run.returncode == code, f"`{command}` ended with {run.returncode}, not {code}")
        return run.stdout

    def ask(self, command: str) -> list[Any]:
        """Run `command --json` unseen; the documents it printed."""
        run = self.moorage(f"{command} --json")
        expect(run.returncode == 0, f"`{command}` ended with {run.returncode}: {run.stderr}")
        return [json.loads(line) for line in run.stdout.splitlines()]

    def moorage(self, command: str) -> subprocess.CompletedProcess[str]:
        name, *arguments = shlex.split(command)
        expect(name == "moorage", f"the transcript runs moorage, not {name}")
        return subprocess.run(
            [self._moorage, *arguments],
            cwd=self.folder,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S * 2,
            check=False,
        )

    @contextmanager
    def hub(self) -> Iterator[None]:
        """`moorage up` in the background; told to stop at the end, and expected to end well."""
        command = f"moorage up --mqtt-port {MQTT_PORT} --https-port 0 --amqp-port 0"
        click.echo(click.style(f"  $ {command} &", fg="cyan"))
        log = self.folder / "hub.log"
        with log.open("wb") as sink:
            hub = subprocess.Popen(
                [self._moorage, *shlex.split(command)[1:]], env=self._environ, stdout=sink, stderr=subprocess.STDOUT
            )
        try:
            yield
            expect(hub.poll() is None, f"the hub ended by itself with {hub.returncode}")
            hub.send_signal(signal.SIGTERM)
            expect(hub.wait(PATIENCE_S) == 0, f"the hub ended with {hub.returncode}")
        except BaseException:
            click.echo(f"\n--- the hub's log\n{log.read_text(errors='replace')[-8000:]}---", err=True)
            raise
        finally:
            if hub.poll() is None:
                hub.kill()
                hub.wait()


class Widget:
    """One device: its certificate, and the unmodified SDK."""

    def __init__(self, device_id: str, folder: Path, environment: dict[str, str], stem: str | None = None) -> None:
        files = certificate_files(stem or file_stem(device_id))
        self.device_id = device_id
        self.desired: list[dict[str, Any]] = []
        self.messages: list[str] = []
        self._certificate = X509(cert_file=str(folder / files.fullchain), key_file=str(folder / files.key))
        self._environment = environment
        self._trust = Path(environment["CA_BUNDLE"]).read_text()
        self._client: Any = None

    def provision(self) -> Any:
        client = ProvisioningDeviceClient.create_from_x509_certificate(
            provisioning_host=self._environment["DPS_ENDPOINT"],
            registration_id=self.device_id,
            id_scope=self._environment["DPS_ID_SCOPE"],
            x509=self._certificate,
            server_verification_cert=self._trust,
        )
        return client.register()

    def connect(self, hub: str) -> None:
        self._client = IoTHubDeviceClient.create_from_x509_certificate(
            x509=self._certificate, hostname=hub, device_id=self.device_id, server_verification_cert=self._trust
        )
        self._client.on_method_request_received = self._answer
        self._client.on_twin_desired_properties_patch_received = self.desired.append
        self._client.on_message_received = lambda message: self.messages.append(message.data.decode())
        self._client.connect()

    def send(self, body: dict[str, Any]) -> None:
        """Returns once the hub has acknowledged, which it does when the message is on disk."""
        self._client.send_message(Message(json.dumps(body), content_encoding="utf-8", content_type="application/json"))

    def report(self, properties: dict[str, Any]) -> None:
        self._client.patch_twin_reported_properties(properties)

    def close(self) -> None:
        if self._client is not None:
            self._client.shutdown()

    def _answer(self, request: Any) -> None:
        answer = {"blinked": request.payload["times"], "by": self.device_id}
        self._client.send_method_response(MethodResponse.create_from_method_request(request, 200, answer))


def wait_for(what: str, happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        expect(time.monotonic() < deadline, f"{what} did not happen within {PATIENCE_S:g} s")
        time.sleep(0.05)


def play(show: Transcript) -> None:
    show.tell("Company-X makes a root, signs Factory-Y, which signs Technician-Z, who signs three widgets")
    show.run("moorage cert root Company-X")
    show.run("moorage cert intermediate Factory-Y --issuer Company-X")
    show.run("moorage cert intermediate Technician-Z --issuer Factory-Y")
    for widget, key in zip(WIDGETS, ("ec-p256", "ec-p384", "rsa-2048"), strict=True):
        show.run(f"moorage cert device {widget} --issuer Technician-Z --key {key}")

    show.tell("A hub starts")
    with show.hub():
        show.run(f"moorage wait --timeout {PATIENCE_S:g}")
        environment = show.ask("moorage env")[0]

        show.tell("Company-X registers its root and proves that it holds the key")
        show.run("moorage ca add companyX_cert.pem")
        code = show.run("moorage ca code Company-X").splitlines()[0]
        show.run(f"moorage cert verification --issuer Company-X --code {code}")
        show.run("moorage ca verify Company-X verification_cert.pem")
        show.run("moorage enrollment-group create smart-x-widgets --ca Company-X")

        widgets = provision_and_send(show, environment)
        try:
            talk(show, widgets)
        finally:
            close(widgets)
        refuse_the_stranger(show, environment)
        roll(show, environment)
        show.tell("The hub is told to stop")
    show.note("and has ended well")


def provision_and_send(show: Transcript, environment: dict[str, str]) -> list[Widget]:
    show.tell("The widgets provision, connect and send telemetry, with the unmodified azure-iot-device")
    widgets = [Widget(device_id, show.folder, environment) for device_id in WIDGETS]

    def begin(widget: Widget) -> str:
        result = widget.provision()
        expect(result.status == "assigned", f"{widget.device_id} is {result.status}, not assigned")
        state = result.registration_state
        expect(state.device_id == widget.device_id, f"{widget.device_id} was provisioned as {state.device_id}")
        widget.connect(state.assigned_hub)
        widget.send({"temperature": 20 + WIDGETS.index(widget.device_id)})
        return str(state.assigned_hub)

    with ThreadPoolExecutor(len(widgets)) as pool:
        for widget, hub in zip(widgets, pool.map(begin, widgets), strict=True):
            show.note(f"{widget.device_id} was assigned to {hub}, connected, and sent one message")

    show.tell("What was acknowledged is on disk")
    show.run(f"moorage telemetry tail --count {len(WIDGETS)}")
    stored = {each["deviceId"]: each for each in show.ask(f"moorage telemetry tail --count {len(WIDGETS)}")}
    expect(set(stored) == set(WIDGETS), f"telemetry of {sorted(stored)} is stored")
    for number, device_id in enumerate(WIDGETS):
        expect(stored[device_id]["body"] == {"temperature": 20 + number}, f"stored: {stored[device_id]}")
    return widgets


def talk(show: Transcript, widgets: Sequence[Widget]) -> None:
    first, second, third = widgets
    show.tell(f"{first.device_id} answers a method")
    show.run(f"moorage method call {first.device_id} blink --payload '{{\"times\": 3}}'")
    answer = show.ask(f"moorage method call {first.device_id} blink --payload '{{\"times\": 4}}'")[0]
    expect(answer == {"status": 200, "payload": {"blinked": 4, "by": first.device_id}}, f"it answered {answer}")

    show.tell(f"{second.device_id} gets a desired property, and reports it back")
    show.run(f"moorage twin update {second.device_id} --desired '{{\"interval\": 5}}'")
    wait_for("the desired property", lambda: any(each.get("interval") == 5 for each in second.desired))
    show.note(f"the widget got {json.dumps(second.desired[-1])}")
    second.report({"interval": 5})
    reported = show.ask(f"moorage twin show {second.device_id}")[0]["properties"]["reported"]
    expect(reported.get("interval") == 5, f"the twin holds {reported}")

    show.tell(f"{third.device_id} gets a message")
    show.run(f"moorage c2d send {third.device_id} 'the installer comes at noon'")
    wait_for("the message", lambda: third.messages == ["the installer comes at noon"])
    show.note(f"the widget got {third.messages[0]!r}")


def refuse_the_stranger(show: Transcript, environment: dict[str, str]) -> None:
    show.tell("A fourth has a certificate of somebody else's: it is refused, and the refusal explained")
    show.run("moorage cert root Elsewhere")
    show.run(f"moorage cert device {STRANGER} --issuer Elsewhere")
    try:
        result = Widget(STRANGER, show.folder, environment).provision()
    except ClientError as refused:
        show.note(f"the SDK says: {refused.__cause__ or refused}")
    else:
        expect(result.status != "assigned", f"{STRANGER} was let in")
        show.note(f"the SDK says {result.status}")
    show.run(f"moorage explain --device {STRANGER}")
    attempt = show.ask(f"moorage explain --device {STRANGER}")[0]
    expect(not attempt["accepted"], "the attempt is recorded as accepted")
    expect(len(attempt["chain"]) == 2, f"the chain on record has {len(attempt['chain'])} certificates, sent were 2")
    expect(bool(attempt["reason"] and attempt["message"] and attempt["checks"]), f"on record is {attempt}")
    known = {each["deviceId"] for each in show.ask("moorage device list")}
    expect(known == set(WIDGETS), f"the devices are {sorted(known)}")


def roll(show: Transcript, environment: dict[str, str]) -> None:
    device_id = WIDGETS[0]
    show.tell(f"The certificate of {device_id} is rolled: a new key, the same name; nothing changes at the hub")
    show.run(f"moorage cert device {device_id} --issuer Technician-Z --stem rolled")
    widget = Widget(device_id, show.folder, environment, stem="rolled")
    try:
        result = widget.provision()
        expect(result.status == "assigned", f"with the new certificate it is {result.status}")
        widget.connect(result.registration_state.assigned_hub)
        widget.send({"temperature": 30})
    finally:
        widget.close()
    show.note(f"{device_id} provisioned, connected and sent with the new certificate")
    thumbprint = show.ask("moorage cert inspect rolled_cert.pem")[0][0]["sha256Thumbprint"]
    attempts = show.ask(f"moorage explain --thumbprint {thumbprint}")
    expect(all(each["accepted"] for each in attempts), f"on record: {[each['reason'] for each in attempts]}")
    last = show.ask(f"moorage telemetry tail --device {device_id} --count 2")[-1]
    expect(last["body"] == {"temperature": 30}, f"stored last: {last}")


def close(widgets: Sequence[Widget]) -> None:
    with ThreadPoolExecutor(len(widgets)) as pool:
        list(pool.map(Widget.close, widgets))


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def main() -> int:
    # The SDK logs each failed connection with a traceback; the transcript says what matters of it.
    logging.getLogger("azure").addHandler(logging.NullHandler())
    logging.getLogger("azure").propagate = False
    if is_taken(MQTT_PORT):
        click.echo(f"port {MQTT_PORT} is taken, and the SDK cannot be told another: stop what listens there", err=True)
        return 1
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="moorage-demo-") as folder:
        try:
            play(Transcript(Path(folder)))
        except (StepFailed, ClientError, subprocess.TimeoutExpired, OSError) as error:
            click.echo(click.style(f"\nThe demo failed: {error}", fg="red", bold=True), err=True)
            return 1
    click.echo(click.style(f"\nDone in {time.monotonic() - began:.0f} s: every step came out as told.", fg="green"))
    return 0


if __name__ == "__main__":
    code = main()
    # The SDK's threads are daemons of a client that may have failed; none of them is worth waiting for.
    sys.stdout.flush()
    if threading.active_count() > 1:
        os._exit(code)
    sys.exit(code)
