"""The data-plane calls of `az iot`, as the azure-iot extension makes them: recorded by hand, played against a hub.

The extension itself is no Python package that a test could install, so what it sends stands in files, one a command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from tests import certs
from tests.compatibility import claimed, proves
from tests.e2e.az import test_messaging
from tests.e2e.az.replay import Command, Player, commands, differences
from tests.e2e.sdk import Bench
from tests.e2e.service.sdk import answering_device, container
from tests.hubs import Hub

CLIENT = "az iot"
ALL = tuple(commands())

# What the extension's command tables have for the data plane (azext_iot/commands.py, iothub/command_map.py of 0.25.0).
HAS = {
    "iot hub": "query invoke-device-method invoke-module-method generate-sas-token monitor-events monitor-feedback",
    "iot hub device-identity": "create show list update delete renew-key import export",
    "iot hub device-identity children": "add remove list",
    "iot hub device-identity parent": "show set",
    "iot hub device-identity connection-string": "show",
    "iot hub module-identity": "create show list update delete renew-key",
    "iot hub module-identity connection-string": "show",
    "iot hub device-twin": "show list update replace",
    "iot hub module-twin": "show update replace",
    "iot hub configuration": "create show list update delete show-metric",
    "iot hub job": "create show list cancel",
    "iot hub digital-twin": "show update invoke-command",
    "iot edge": "set-modules export-modules",
    "iot edge deployment": "create show list update delete show-metric",
    "iot device c2d-message": "send receive complete abandon reject purge",
    "iot device": "upload-file",
    # Of IoT Central's commands those that read what a hub's endpoint gives.
    "iot central diagnostics": "monitor-events",
    "iot dps enrollment": "create list show update delete",
    "iot dps enrollment registration": "show delete",
    "iot dps enrollment-group": "create list show update delete compute-device-key",
    "iot dps enrollment-group registration": "list show delete",
}


class Outcomes:
    """What became of each command; all are played once, in order, whichever of them a run asks about first."""

    def __init__(self, hub: Hub, bench: Bench) -> None:
        root = certs.root("Az Root")
        self._leaves = {name: certs.device(root, name) for name in ("az-x509", "az-member")}
        known = {
            "host": hub.hostname,
            "rootPem": root.certificate.pem,
            "leafPem": self._leaves["az-x509"].certificate.pem,
            "container": container(hub, "az").as_uri(),
            "tomorrow": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
        }
        player = Player(hub, known)
        try:
            self.of = {command.file: self._play(player, command, bench) for command in ALL}
        finally:
            player.close()

    def _play(self, player: Player, command: Command, bench: Bench) -> list[str]:
        for registration_id in command.needs.get("provisioned", ()):
            x509 = bench.x509(self._leaves[registration_id])
            assert bench.provisioning(registration_id, x509=x509).register().status == "assigned"
        for device in command.needs.get("sent", ()):
            message = {"body": "slower", "properties": {"site": "7"}}
            bench.hub.request("POST", f"/moorage/v1/devices/{device}/messages/devicebound", body=message)
        with ExitStack() as connected:
            for name in command.needs.get("connected", ()):
                document = bench.hub.request("GET", "/devices/" + name.replace("/", "/modules/"))
                connected.enter_context(answering_device(bench, document))
            return player.play_all(command.calls)


@pytest.fixture(scope="module")
def outcomes(hub: Hub, bench: Bench) -> Iterator[Outcomes]:
    yield Outcomes(hub, bench)


@pytest.mark.parametrize(
    "command",
    [pytest.param(each, id=each.file.stem, marks=proves(CLIENT, each.group, each.name)) for each in ALL],
)
def test_a_command_gets_what_it_needs(outcomes: Outcomes, command: Command) -> None:
    assert outcomes.of[command.file] == []


def test_every_command_is_played_or_spoken() -> None:
    played = {(each.group, each.name) for each in ALL}
    spoken = claimed(CLIENT, test_messaging)
    offered = {(group, name) for group, names in HAS.items() for name in names.split()}
    assert played | spoken == offered


@pytest.mark.parametrize(
    ("pattern", "actual"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {}),
        ({"a": True}, {"a": 1}),
        ({"a": "<absent>"}, {"a": None}),
        ({"a": "<any>"}, {"a": None}),
        ({"a": "<text>"}, {"a": ""}),
        ({"a": "<number>"}, {"a": True}),
        ([1], [1, 2]),
        ({"<has>": [{"a": 1}]}, [{"a": 2}]),
        ({"<has>": [1]}, {"a": 1}),
        ({}, []),
        ([], {}),
    ],
)
def test_an_answer_that_differs_is_told(pattern: object, actual: object) -> None:
    assert list(differences(pattern, actual))


def test_an_answer_may_say_more_than_a_command_needs(new_id: Callable[..., str]) -> None:
    name = new_id()
    document = {"a": {"b": [1, {"c": name}]}, "more": None}
    assert list(differences({"a": {"b": [1, {"c": name}]}, "other": "<absent>"}, document)) == []
    assert list(differences({"<has>": [{"a": "<any>"}]}, [1, document])) == []
