"""A device provisions itself over every transport with every kind of enrollment, and then sends over the same one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import pytest
from azure.iot.device import ProvisioningDeviceClient

from tests import certs
from tests.certs import Issued
from tests.compatibility import TABLES, TRANSPORTS, Cell, plays, proves
from tests.e2e.matrix.players import NodeDevice, Player, PythonDevice
from tests.e2e.node.workshop import Crowd, Files, Workshop
from tests.e2e.test_provisioning import KEYS, by_key, by_provisioned_key, derived, enroll, enroll_group, x509

INDIVIDUAL, GROUP, KEY, GROUP_KEY, TPM = TABLES["provisioning"].credentials
_SPOKEN = {"Node": TRANSPORTS, "Python": ("MQTT", "MQTT-WS")}

CELLS = [
    Cell("provisioning", runs_on, transport, credential, "register", "device")
    for runs_on, transports in _SPOKEN.items()
    for transport, credential in itertools.product(transports, (INDIVIDUAL, GROUP, KEY, GROUP_KEY))
]
# A TPM over the other transports has programs and tests of its own.
LACKING = [
    Cell("provisioning", runs_on, transport, TPM, "register", "device", "not in the SDK")
    for runs_on, transport in itertools.product(_SPOKEN, ("MQTT", "MQTT-WS"))
]


def claims(cell: Cell) -> tuple[pytest.MarkDecorator, ...]:
    package = {"M": "mqtt", "A": "amqp", "H": "http"}[cell.transport[0]]
    client = f"azure-iot-provisioning-device-{package}" if cell.runs_on == "Node" else "azure-iot-device"
    return plays(cell), proves(client, "provisioning", f"register: {cell.credential}", transport=cell.transport)


def registration_id(cell: Cell) -> str:
    number = TABLES["provisioning"].credentials.index(cell.credential)
    return f"provisioned-{cell.runs_on}-{cell.transport}-{number}".lower()


class Shown(NamedTuple):
    """What a device shows: a certificate, or a key."""

    issued: Issued | None = None
    key: str = ""


class Line:
    """Enrolls devices; its groups take whoever comes."""

    def __init__(self, workshop: Workshop, crowd: Crowd) -> None:
        self.workshop, self.crowd = workshop, crowd
        root = certs.root("Matrix Group Root")
        self._deep = certs.intermediate(certs.intermediate(root, "Matrix Group Line"), "Matrix Group Cell")
        enroll_group(workshop.bench, "matrix-x509", x509("signingCertificates", root))
        enroll_group(workshop.bench, "matrix-keys", by_key())

    def enrolled(self, cell: Cell) -> Shown:
        name = registration_id(cell)
        if cell.credential == INDIVIDUAL:
            issued = certs.self_signed(name)
            enroll(self.workshop.bench, name, x509("clientCertificates", issued))
            return Shown(issued)
        if cell.credential == GROUP:
            return Shown(certs.device(self._deep, name))
        if cell.credential == KEY:
            enroll(self.workshop.bench, name, by_key())
            return Shown(key=KEYS["primaryKey"])
        return Shown(key=derived(KEYS["primaryKey"], name))


def by_node(line: Line, cell: Cell, shown: Shown) -> Player:
    """Provision with the SDK for Node; the device that it then is."""
    workshop, name = line.workshop, registration_id(cell)
    hub = workshop.hub
    question = {"do": "provision", "device": name, "transport": cell.transport}
    question |= {"host": hub.hostname, "scope": hub.id_scope}
    settings = {
        "IOTHUB_DEVICE_CONNECTION_STRING": f"HostName={hub.hostname};DeviceId={name};SharedAccessKey={shown.key}"
    }
    if shown.issued:
        cert, key = workshop.bench.files(shown.issued)
        question |= {"cert": str(cert), "key": str(key)}
        settings = workshop.by_certificate(name, Files(cert, key, cert, cert))
    else:
        question |= {"symmetricKey": shown.key}
    answer = line.crowd.ask(question)
    assert answer.get("done") == {"assignedHub": hub.hostname, "deviceId": name, "status": "assigned"}, answer
    return NodeDevice(line.crowd, name, cell.transport, settings)


def by_python(line: Line, cell: Cell, shown: Shown) -> Player:
    bench, name = line.workshop.bench, registration_id(cell)
    options: dict[str, Any] = {"websockets": cell.transport == "MQTT-WS"}
    files = bench.x509(shown.issued) if shown.issued else None
    result = bench.provisioning(name, x509=files, key=shown.key, **options).register()
    assert (result.status, result.registration_state.device_id) == ("assigned", name)
    assert result.registration_state.assigned_hub == bench.hub.hostname
    if shown.issued:
        return PythonDevice(bench.hub, partial(bench.by_certificate, name, files, **options))
    return PythonDevice(bench.hub, partial(by_provisioned_key, bench, name, shown.key, **options))


def perform(line: Line, cell: Cell) -> None:
    name, bench = registration_id(cell), line.workshop.bench
    player = (by_node if cell.runs_on == "Node" else by_python)(line, cell, line.enrolled(cell))
    attempts = bench.hub.attempts(device=name)
    assert {(each["door"], each["accepted"]) for each in attempts} == {(f"dps.{cell.transport.lower()}", True)}
    player.open()
    try:
        player.send('{"provisioned": true}')
    finally:
        player.close()
    assert [message["body"] for message in bench.stored(name)] == [{"provisioned": True}]


@pytest.fixture(scope="module")
def performances(
    request: pytest.FixtureRequest, workshop: Workshop, crowd: Crowd
) -> Iterator[dict[Cell, Future[None]]]:
    """Everyone that a test of this run asks for at once: each waits for two seconds, as it is told to."""
    name = test_a_device_provisions_itself_and_sends.__name__
    items: list[Any] = [item for item in request.session.items if getattr(item, "originalname", "") == name]
    line = Line(workshop, crowd)
    with ThreadPoolExecutor(len(CELLS)) as pool:
        asked = (item.callspec.params["cell"] for item in items)
        yield {cell: pool.submit(perform, line, cell) for cell in asked}


@pytest.mark.parametrize("cell", [pytest.param(cell, id=cell.name, marks=claims(cell)) for cell in CELLS])
def test_a_device_provisions_itself_and_sends(performances: dict[Cell, Future[None]], cell: Cell) -> None:
    performances[cell].result()


@pytest.mark.parametrize("cell", [pytest.param(cell, id=cell.name, marks=plays(cell)) for cell in LACKING])
def test_the_sdk_does_not_attest_with_a_tpm(crowd: Crowd, cell: Cell) -> None:
    if cell.runs_on == "Python":
        assert not any("tpm" in name.lower() for name in dir(ProvisioningDeviceClient))
    else:
        for transport in TRANSPORTS:
            answer = crowd.ask({"do": "attestsWithTpm", "transport": transport})
            assert answer["done"] is not transport.startswith("MQTT")
