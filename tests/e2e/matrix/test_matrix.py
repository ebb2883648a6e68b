"""Every transport with every credential does everything, for devices and modules, where the SDK can do it at all.

A combination of SDK, transport, credential and identity is one connection, which plays all its operations one after
another; combinations are played beside each other, and only those that are asked for.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import pytest
from azure.iot.device import IoTHubModuleClient

from tests import certs
from tests.certs import Issued
from tests.compatibility import TABLES, TRANSPORTS, Cell, plays, proves
from tests.e2e.matrix.players import NodeDevice, Player, PythonDevice
from tests.e2e.node.workshop import Crowd, Files, Settings, Workshop
from tests.e2e.sdk import authority, pinned, split, until

_HEADINGS = TABLES["devices"]
THUMBPRINT, LEAF, DEEP, KEY = _HEADINGS.credentials
D2C, C2D, METHODS, TWINS, UPLOAD = _HEADINGS.operations
_SPOKEN = {"Node": TRANSPORTS, "Python": ("MQTT", "MQTT-WS")}
# At a time; two cores are busy with fewer already.
_AT_ONCE = 12


# -- the combinations --------------------------------------------------------------------------------------------------


def lacking(runs_on: str, transport: str, operation: str, who: str) -> str:
    """Why the SDK has no such operation; nothing where it has."""
    if who == "module" and operation == C2D:
        return "messages from the cloud are for devices; a module has none, in IoT Hub neither"
    if who == "module" and operation == UPLOAD:
        return "the SDK uploads files for devices only"
    if runs_on == "Node" and transport == "HTTPS" and operation in (METHODS, TWINS):
        return "the SDK has neither methods nor twins over HTTPS"
    if runs_on == "Node" and transport == "HTTPS" and who == "module":
        return "over HTTPS the SDK speaks for devices only"
    return ""


CELLS = [
    Cell("devices", runs_on, transport, credential, operation, who, lacking(runs_on, transport, operation, who))
    for runs_on, transports in _SPOKEN.items()
    for transport, credential, operation, who in itertools.product(
        transports, _HEADINGS.credentials, _HEADINGS.operations, ("device", "module")
    )
]


def claims(cell: Cell) -> tuple[pytest.MarkDecorator, ...]:
    """What the cell says, and the operations of the client that it shows."""
    if cell.lacking:
        return (plays(cell),)
    is_node = cell.runs_on == "Node"
    package = {"M": "mqtt", "A": "amqp", "H": "http"}[cell.transport[0]]
    client = f"azure-iot-device-{package}" if is_node else "azure-iot-device"
    area = "devices" if package == "http" else "devices and modules"
    transport = "HTTPS" if cell.operation == UPLOAD and not is_node else cell.transport
    calls = {
        D2C: ("sendEvent" if is_node else "send_message", *_CONNECTS[cell.credential]),
        C2D: ("message", "complete") if is_node else ("on_message_received",),
        METHODS: (
            ("onDeviceMethod" if cell.who == "device" else "onMethod",)
            if is_node
            else ("on_method_request_received", "send_method_response")
        ),
        TWINS: (
            ("getTwin", "desired and reported properties")
            if is_node
            else ("get_twin", "patch_twin_reported_properties", "on_twin_desired_properties_patch_received")
        ),
        UPLOAD: ("uploadToBlob",) if is_node else ("get_storage_info_for_blob", "notify_blob_upload_status"),
    }
    return plays(cell), proves(client, area, *calls[cell.operation], transport=transport)


_CONNECTS = {
    THUMBPRINT: ("connect by thumbprint",),
    LEAF: ("connect by certificate authority",),
    DEEP: ("connect below two intermediates",),
    KEY: ("connect by key",),
}


class Combination(NamedTuple):
    """What one connection is made of."""

    runs_on: str
    transport: str
    credential: str
    who: str

    @property
    def name(self) -> str:
        """Its device id, or `device/module`."""
        credential = _HEADINGS.credentials.index(self.credential)
        device = f"{self.runs_on}-{self.transport}-{credential}-{self.who}".lower()
        return device if self.who == "device" else f"{device}/camera"


def combination(cell: Cell) -> Combination:
    return Combination(cell.runs_on, cell.transport, cell.credential, cell.who)


# -- who plays them ----------------------------------------------------------------------------------------------------


class Cast:
    """Registers devices and makes players of them."""

    def __init__(self, workshop: Workshop, crowd: Crowd, root: Issued) -> None:
        self.workshop, self._crowd, self._root = workshop, crowd, root
        self._deep = certs.intermediate(certs.intermediate(root, "Matrix Line"), "Matrix Cell")

    def player(self, which: Combination) -> Player:
        bench, name = self.workshop.bench, which.name
        python = partial(PythonDevice, self.workshop.hub)
        if which.credential == KEY:
            document = bench.create(name)
            if which.runs_on == "Python":
                return python(partial(bench.by_key, document, **_options(which)))
            text = self.workshop.hub.device_connection_string(document)
            return self._node(which, {"IOTHUB_DEVICE_CONNECTION_STRING": text})
        issued = {
            THUMBPRINT: partial(certs.self_signed, name),
            LEAF: partial(certs.device, self._root, name),
            DEEP: partial(certs.device, self._deep, name),
        }[which.credential]()
        bench.create(name, pinned(issued.certificate.sha256) if which.credential == THUMBPRINT else authority())
        if which.runs_on == "Python":
            return python(partial(bench.by_certificate, name, bench.x509(issued), **_options(which)))
        chain, key = bench.files(issued)
        return self._node(which, self.workshop.by_certificate(name, Files(chain, key, chain, chain)))

    def _node(self, which: Combination, settings: Settings) -> NodeDevice:
        return NodeDevice(self._crowd, which.name, which.transport, settings)


def _options(which: Combination) -> dict[str, Any]:
    return {"websockets": which.transport == "MQTT-WS"}


# -- what is played ----------------------------------------------------------------------------------------------------


def d2c(workshop: Workshop, which: Combination, player: Player) -> None:
    player.send(json.dumps({"from": which.name}))
    device_id, _, module_id = which.name.partition("/")
    (stored,) = workshop.bench.stored(device_id)
    assert (stored["body"], stored["moduleId"] or "") == ({"from": which.name}, module_id)
    by = json.loads(stored["systemProperties"]["iothub-connection-auth-method"])["type"]
    assert by == ("sas" if which.credential == KEY else "x509Certificate")
    door = f"hub.{which.transport.lower()}"
    attempt = next(each for each in workshop.hub.attempts(device=which.name) if each["door"] == door)
    assert (attempt["accepted"], attempt["credential"]) == (True, "token" if which.credential == KEY else "x509")
    if which.credential == DEEP:
        assert len(attempt["chain"]) == 3


def c2d(workshop: Workshop, which: Combination, player: Player) -> None:
    path = f"/moorage/v1/devices/{which.name}/messages/devicebound"
    workshop.hub.request("POST", path, body={"body": "slower"})
    assert player.receive() == "slower"
    device = f"/devices/{which.name}"
    until("it is settled", lambda: workshop.hub.request("GET", device)["cloudToDeviceMessageCount"] == 0)


def methods(workshop: Workshop, which: Combination, player: Player) -> None:
    player.echo("echo")
    # Over many records of TLS, and in frames as the client cuts them.
    for payload in ({"n": 1}, "x" * 100_000):
        assert workshop.call(which.name, "echo", payload) == {"status": 200, "payload": payload}


def twins(workshop: Workshop, which: Combination, player: Player) -> None:
    assert player.twin() == {"desired": {"$version": 1}, "reported": {"$version": 1}}
    player.report({"interval": {"value": 5, "ac": 200}})
    assert workshop.bench.twin(which.name)["properties"]["reported"]["interval"] == {"value": 5, "ac": 200}
    # Node's SDK does not say when it has subscribed to changes: what it reports is stored after that.
    workshop.change_desired(which.name, {"interval": 6})
    player.desired("interval", 6)


def upload(workshop: Workshop, which: Combination, player: Player) -> None:
    player.upload("logs/today.txt", "one line\n")
    name = f"{which.name}/logs/today.txt"
    assert b"".join(workshop.hub.owner.pieces(f"/moorage/v1/files/{name}")) == b"one line\n"


PLAYS: dict[str, Callable[[Workshop, Combination, Player], None]] = {
    D2C: d2c,
    C2D: c2d,
    METHODS: methods,
    TWINS: twins,
    UPLOAD: upload,
}


def perform(cast: Cast, which: Combination, operations: list[str]) -> dict[str, Exception | None]:
    """Connect and play; what each operation ended with."""
    player = cast.player(which)
    player.open()
    ended: dict[str, Exception | None] = {}
    try:
        for operation in operations:
            try:
                PLAYS[operation](cast.workshop, which, player)
                ended[operation] = None
            except Exception as error:  # its own test raises it
                ended[operation] = error
    finally:
        player.close()
    return ended


@pytest.fixture(scope="module")
def performances(
    request: pytest.FixtureRequest, workshop: Workshop, crowd: Crowd, root: Issued
) -> Iterator[dict[Combination, Future[dict[str, Exception | None]]]]:
    """Every combination that a test of this run asks for, begun."""
    items: list[Any] = [item for item in request.session.items if _plays_a_cell(item)]
    asked = {item.callspec.params["cell"] for item in items}
    wanted: dict[Combination, list[str]] = {}
    for cell in CELLS:
        if cell in asked:
            wanted.setdefault(combination(cell), []).append(cell.operation)
    cast = Cast(workshop, crowd, root)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield {which: pool.submit(perform, cast, which, operations) for which, operations in wanted.items()}


def _plays_a_cell(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and item.originalname == test_an_operation_works.__name__


def _parameters(*, are_lacking: bool) -> list[Any]:
    return [pytest.param(cell, id=cell.name, marks=claims(cell)) for cell in CELLS if bool(cell.lacking) is are_lacking]


@pytest.mark.parametrize("cell", _parameters(are_lacking=False))
def test_an_operation_works(performances: dict[Combination, Future[dict[str, Exception | None]]], cell: Cell) -> None:
    if error := performances[combination(cell)].result()[cell.operation]:
        raise error


# -- what cannot be played ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", _parameters(are_lacking=True))
def test_an_operation_that_the_sdk_does_not_have(workshop: Workshop, crowd: Crowd, cell: Cell) -> None:
    if cell.runs_on == "Python":
        offered = {C2D: "receive_message", UPLOAD: "get_storage_info_for_blob"}[cell.operation]
        assert not hasattr(IoTHubModuleClient, offered)
    elif cell.who == "module" and cell.operation in (C2D, UPLOAD):
        # What a listener for messages makes the client of a device do has no public name.
        method = {C2D: "_enableC2D", UPLOAD: "uploadToBlob"}[cell.operation]
        assert crowd.ask({"do": "offers", "kind": "device", "method": method})["done"] is True
        assert crowd.ask({"do": "offers", "kind": "module", "method": method})["done"] is False
    elif cell.operation in (METHODS, TWINS):
        method = {METHODS: "onDeviceMethod", TWINS: "getTwin"}[cell.operation]
        assert crowd.ask({"do": "overHttps", "method": method})["error"] == "NotImplementedError"
    else:
        # It asks as its device, for which a module's key is no credential.
        module = NodeDevice(crowd, combination(cell).name, "HTTPS", keyed(workshop, cell))
        module.open()
        with pytest.raises(AssertionError, match="UnauthorizedError"):
            module.send("{}")
        module.close()


def keyed(workshop: Workshop, cell: Cell) -> Settings:
    """Of a module with keys."""
    document = workshop.bench.create(f"{split(combination(cell).name)[0]}-keyed/camera")
    return {"IOTHUB_DEVICE_CONNECTION_STRING": workshop.hub.device_connection_string(document)}


def test_every_field_of_the_table_is_there_once() -> None:
    fields = {(cell.runs_on, cell.transport, cell.credential, cell.operation, cell.who) for cell in CELLS}
    assert len(fields) == len(CELLS) == (5 + 2) * 4 * 5 * 2
