"""Rolling certificates while a device retries every second, with the old and the new leaf: not one is refused.

The device registers over HTTPS, where it need not wait between its two requests as the SDK does; then it connects to
the hub with the SDK and sends. Beside it the SDK provisions over MQTT without a pause.
"""

from __future__ import annotations

import base64
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any

import httpx
import pytest
from azure.iot.device.exceptions import CredentialError

from moorage.cli.hub_client import segment
from tests import certs
from tests.certs import Issued
from tests.compatibility import proves
from tests.e2e.sdk import Bench, client, until

provisioning = partial(proves, "azure-iot-device", "provisioning", transport="MQTT")

# One turn of the device, with time to spare.
ROUND_S = 2.2


class Leaf:
    """A certificate on disk, how to show it, and what an enrollment holds for it: itself, or its CA."""

    def __init__(self, bench: Bench, issued: Issued) -> None:
        self.sha256 = issued.certificate.sha256
        self.x509 = bench.x509(issued)
        self.context = ssl.create_default_context(cafile=str(bench.hub.ca_bundle))
        self.context.load_cert_chain(*bench.files(issued))
        self.enrolled = base64.b64encode(issued.fullchain[-1].der).decode()


def register(bench: Bench, name: str, leaf: Leaf) -> str:
    """Register over HTTPS and poll until placed; the status, or the error as the service tells it."""
    base = (
        f"https://{bench.hub.hostname}:{bench.hub.info.https_port}/{bench.hub.id_scope}/registrations/{segment(name)}"
    )
    version = {"api-version": "2021-06-01"}
    with httpx.Client(verify=leaf.context, trust_env=False) as http:
        begun = http.put(f"{base}/register", params=version, json={"registrationId": name})
        if begun.status_code != 202:
            return f"{begun.status_code} {begun.text}"
        while True:
            polled = http.get(f"{base}/operations/{begun.json()['operationId']}", params=version)
            if polled.status_code != 202:
                return str(polled.json().get("status") or polled.text)
            time.sleep(0.1)


class Device(AbstractContextManager["Device"]):
    """Retries once a second with every leaf `in_use`, the old before the new; keeps the outcome of each attempt."""

    def __init__(self, bench: Bench, name: str, leaf: Leaf) -> None:
        self._bench = bench
        self.name = name
        self.outcomes: list[str] = []
        self.in_use: tuple[Leaf, ...] = (leaf,)
        self._rounds = [0, 0]
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._retry), threading.Thread(target=self._provision)]

    def __enter__(self) -> Device:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def try_for(self, seconds: float, *, attempts: int) -> None:
        """Let it go on for so long, and until it has made so many."""
        least = len(self.outcomes) + attempts
        time.sleep(seconds)
        until(f"{attempts} attempts", lambda: len(self.outcomes) >= least)

    def leave(self, leaf: Leaf) -> None:
        """Use the others only; returns when no attempt with `leaf` is under way."""
        self.in_use = tuple(other for other in self.in_use if other is not leaf)
        first, second = self._rounds
        until("what is under way ends", lambda: self._rounds[0] > first and self._rounds[1] > second)

    def _retry(self) -> None:
        while not self._done.is_set():
            began = time.monotonic()
            for leaf in self.in_use:
                self._outcome("https", partial(register, self._bench, self.name, leaf))
                self._outcome("connect", partial(self._connect, leaf))
            self._rounds[0] += 1
            self._done.wait(max(0.0, began + 1.0 - time.monotonic()))

    def _provision(self) -> None:
        while not self._done.is_set():
            for leaf in self.in_use:
                self._outcome("mqtt", self._bench.provisioning(self.name, x509=leaf.x509).register)
                self._rounds[1] += 1

    def _outcome(self, what: str, attempt: Callable[[], Any]) -> None:
        try:
            result = attempt()
        except Exception as error:
            # Whatever fails is an outcome, which the test shows.
            result = f"{type(error).__name__}: {error}"
        self.outcomes.append(f"{what}: {getattr(result, 'status', result)}")

    def _connect(self, leaf: Leaf) -> str:
        with client(self._bench.by_certificate(self.name, leaf.x509)) as device:
            device.send_message("here")
        return "assigned"


@provisioning("register while both slots roll")
@pytest.mark.parametrize("kind", ["individual", "group"])
def test_a_device_that_retries_every_second_is_never_refused_while_both_slots_roll(
    bench: Bench, new_id: Callable[..., str], kind: str
) -> None:
    name = new_id("roller")
    if kind == "individual":
        path, identity, slots = f"/enrollments/{name}", {"registrationId": name}, "clientCertificates"
        issued = [certs.self_signed(name, label=label) for label in "abcd"]
    else:
        path, identity, slots = f"/enrollmentGroups/g-{name}", {"enrollmentGroupId": f"g-{name}"}, "signingCertificates"
        issued = [certs.device(certs.root(f"E2E {name} {label}"), name, label=label) for label in "abcd"]
    a, b, c, d = (Leaf(bench, each) for each in issued)

    def put(primary: Leaf, secondary: Leaf | None, etag: str | None = None) -> str:
        held = {"primary": primary, "secondary": secondary}
        certificates = {slot: {"certificate": leaf.enrolled} for slot, leaf in held.items() if leaf is not None}
        body = {**identity, "attestation": {"type": "x509", "x509": {slots: certificates}}}
        return str(bench.hub.request("PUT", path, body=body, if_match=etag)["etag"])

    etag = put(a, None)
    with Device(bench, name, a) as device:
        for old, new, primary, secondary in ((a, b, a, b), (b, c, c, b), (c, d, c, d)):
            etag = put(primary, secondary, etag)
            device.in_use = (old, new)
            device.try_for(ROUND_S, attempts=7)
            device.leave(old)
    assert set(device.outcomes) == {"https: assigned", "connect: assigned", "mqtt: assigned"}
    assert len(device.outcomes) > 20
    attempts = bench.hub.attempts(device=name, limit="1000")
    assert [each["message"] for each in attempts if not each["accepted"]] == []
    used = {each["chain"][0]["sha256Thumbprint"] for each in attempts}
    assert used == {leaf.sha256 for leaf in (a, b, c, d)}
    # It would be no roll if the first were still let in.
    assert register(bench, name, a).startswith("401 ")
    with pytest.raises(CredentialError), client(bench.by_certificate(name, a.x509)):
        pass
