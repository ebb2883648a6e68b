"""`az iot central`, as the azure-iot extension speaks: the requests of each command, recorded while it ran on a hub.

The extension makes its address of `--app-id` and `--central-dns-suffix`, and sends `--token` as it is. Commands that
need Azure itself, or paths of IoT Central that are not public, are in `PRIVATE`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests import certs
from tests.compatibility import proves, refuses
from tests.e2e.az.replay import Command, Player, commands
from tests.e2e.sdk import Bench, Message
from tests.e2e.service.sdk import answering_device
from tests.hubs import Hub

CLIENT = "az iot"
ALL = tuple(commands(Path(__file__).parent / "central"))

# What the extension's command table has (azext_iot/central/command_map.py of 0.25.0), without what `PRIVATE` says.
HAS = {
    "iot central device": "list show create update delete registration-info show-credentials list-components "
    "list-modules",
    "iot central device telemetry": "show",
    "iot central device attestation": "show create delete update",
    "iot central device twin": "show update replace",
    "iot central device edge children": "add remove",
    "iot central device command": "run history",
    "iot central device-template": "list show create update delete",
    "iot central device-group": "list show create update delete",
    "iot central diagnostics": "registration-summary",
    "iot central user": "create update list show delete",
    "iot central api-token": "create list show delete",
    "iot central role": "show list",
    "iot central organization": "show list create delete update",
    "iot central job": "show list create stop resume get-devices rerun",
    "iot central scheduled-job": "show list create delete update list-runs",
    "iot central enrollment-group": "show list create delete update verify-certificate generate-verification-code",
    "iot central file-upload-config": "show create update delete",
    "iot central": "query",
    "iot central export": "list show create update delete",
    "iot central export destination": "list show create update delete",
}
DELETES = ("iot central device", "delete")
# What is answered with a refusal that says what to do instead.
REFUSED = {
    ("iot central job", "stop"): "409, Conflict: the job has ended",
    ("iot central job", "resume"): "409, Conflict: the job has ended",
    ("iot central file-upload-config", "create"): "400: the setting `upload_store` says where files go",
    ("iot central file-upload-config", "update"): "400: the setting `upload_store` says where files go",
    ("iot central file-upload-config", "delete"): "400: the setting `upload_store` says where files go",
}
# Not in the public API: paths below /system, and what the extension works out by itself or with `az login`.
PRIVATE = {
    "iot central device": "manual-failover manual-failback compute-device-key",
    "iot central device c2d-message": "purge",
    "iot central device edge children": "list",
    "iot central device edge module": "list restart",
    "iot central device edge manifest": "show",
    "iot central diagnostics": "validate-messages monitor-properties validate-properties",
}


class CentralPlayer(Player):
    """Plays calls of the application's REST API, with a token of it."""

    def __init__(self, hub: Hub, known: Mapping[str, Any], token: str) -> None:
        super().__init__(hub, known)
        self._token = token
        self._root = certs.root("Az Central Root")
        self._known |= {
            "root64": base64.b64encode(self._root.pem().encode()).decode(),
            "leafPem": certs.self_signed("az-pump").pem(),
        }

    def _send(self, call: Mapping[str, Any]) -> tuple[httpx.Response, Any]:
        headers = {
            "Authorization": self._token,
            "User-Agent": "IoTPlatformCliExtension/0.25.0",
            "x-ms-client-request-id": str(uuid4()),
        }
        content = None
        if "body" in call:
            headers["Content-Type"] = "application/json"
            content = json.dumps(self._filled(call["body"]))
        response = self._http.request(
            call["method"], self._address + call["path"], params=call["query"], headers=headers, content=content
        )
        return response, response.json() if response.content else None

    def _value(self, name: str) -> Any:
        if name == "proof64":
            proof = certs.device(self._root, self._known["code"])
            return base64.b64encode(proof.pem().encode()).decode()
        return super()._value(name)


class Outcomes:
    """What became of each command; all are played once, in order."""

    def __init__(self, hub: Hub, bench: Bench) -> None:
        document = bench.create("az-live")
        gateway = {"deviceId": "az-gateway", "capabilities": {"iotEdge": True}, "authentication": {"type": "sas"}}
        bench.hub.request("PUT", "/devices/az-gateway", body=gateway)
        token = hub.moorage("api-token", "create", "az-central", "--role", "administrator").strip()
        player = CentralPlayer(hub, {}, token)
        # A device that is deleted while it is connected is cut, and its client may fail to go.
        end = next(at for at, command in enumerate(ALL) if (command.group, command.name) == DELETES)
        try:
            with answering_device(bench, document) as device:
                device.send_message(
                    Message('{"pressure": 4.5}', content_encoding="utf-8", content_type="application/json")
                )
                self.of = {command.file: player.play_all(command.calls) for command in ALL[:end]}
            self.of |= {command.file: player.play_all(command.calls) for command in ALL[end:]}
        finally:
            player.close()
            hub.moorage("api-token", "delete", "az-central")


@pytest.fixture(scope="module")
def outcomes(hub: Hub, bench: Bench) -> Iterator[Outcomes]:
    yield Outcomes(hub, bench)


def _marks(command: Command) -> pytest.MarkDecorator:
    answer = REFUSED.get((command.group, command.name))
    if answer is not None:
        return refuses(CLIENT, command.group, command.name, answer=answer)
    return proves(CLIENT, command.group, command.name)


@pytest.mark.parametrize("command", [pytest.param(each, id=each.file.stem, marks=_marks(each)) for each in ALL])
def test_a_command_gets_what_it_needs(outcomes: Outcomes, command: Command) -> None:
    assert outcomes.of[command.file] == []


def test_every_command_is_played() -> None:
    offered = {(group, name) for group, names in HAS.items() for name in names.split()}
    assert {(each.group, each.name) for each in ALL} == offered
    assert not offered & {(group, name) for group, names in PRIVATE.items() for name in names.split()}
