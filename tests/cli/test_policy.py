"""`moorage policy`, `moorage token` and connection strings, as typed."""

from __future__ import annotations

import base64
import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from moorage.cli import main
from moorage.cli.policy import WAIVER_NAMES
from moorage.pki.waivers import WAIVERS
from tests.hubs import Hub, running_hub

KEY = re.compile(r"[A-Za-z0-9+/]{43}=")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("policies") / "hub") as hub:
        yield hub


class Line:
    """Commands in this process, on that hub: a process for each of these would take most of the time."""

    def __init__(self, hub: Hub, capture: pytest.CaptureFixture[str]) -> None:
        self.hub = hub
        self._capture = capture

    def moorage(self, *words: str, code: int = 0) -> str:
        """What it printed, on standard error when `code` is not 0."""
        assert main([*words, "--data", str(self.hub.data)]) == code, (words, self._capture.readouterr())
        captured = self._capture.readouterr()
        return captured.err if code else captured.out

    def ask(self, *words: str) -> list[Any]:
        return [json.loads(line) for line in self.moorage(*words, "--json").splitlines()]


@pytest.fixture
def line(hub: Hub, capsys: pytest.CaptureFixture[str]) -> Line:
    return Line(hub, capsys)


def status(hub: Hub, token: str, path: str = "/devices") -> int:
    context = ssl.create_default_context(cafile=str(hub.ca_bundle))
    answer = httpx.get(
        f"https://{hub.info.service_host}{path}",
        headers={"Authorization": token.strip()},
        verify=context,
        trust_env=False,
    )
    return answer.status_code


def test_keys_are_shown_when_they_are_asked_for(hub: Hub, line: Line) -> None:
    for command in (
        ("policy", "list"),
        ("policy", "list", "--json"),
        ("policy", "show", "service"),
        ("policy", "create", "quiet", "--right", "RegistryRead"),
        ("policy", "roll", "quiet", "--json"),
        ("policy", "update", "quiet", "--right", "ServiceConnect"),
    ):
        assert not KEY.search(line.moorage(*command)), command
    assert len(KEY.findall(line.moorage("policy", "list", "--show-keys"))) == 2 * len(line.ask("policy", "list"))
    (shown,) = line.ask("policy", "show", "QUIET", "--show-keys")
    assert (shown["for"], shown["rights"]) == ("hub", ["ServiceConnect"]) and KEY.fullmatch(shown["primaryKey"])
    line.moorage("policy", "delete", "quiet")
    assert "policy.not_found" in line.moorage("policy", "show", "quiet", code=1)


def test_a_key_that_somebody_chose_comes_from_a_file(hub: Hub, line: Line, tmp_path: Path) -> None:
    chosen, file = base64.b64encode(bytes(32)).decode(), tmp_path / "key"
    file.write_text(chosen + "\n")
    line.moorage("policy", "create", "chosen", "--for", "dps", "--right", "EnrollmentRead", "--primary-key", str(file))
    (shown,) = line.ask("policy", "show", "chosen", "--show-keys")
    assert (shown["for"], shown["primaryKey"]) == ("dps", chosen)
    text = line.moorage("policy", "show", "chosen", "--connection-string", "--secondary").strip()
    assert text == (
        f"HostName={hub.info.service_host};SharedAccessKeyName=chosen;SharedAccessKey={shown['secondaryKey']}"
    )
    assert "policy.same_key" in line.moorage("policy", "update", "chosen", "--secondary-key", str(file), code=1)
    line.moorage("policy", "delete", "chosen", "--for", "dps")


def test_rolling_the_owners_key_leaves_env_right(hub: Hub, line: Line) -> None:
    (before,) = line.ask("env")
    line.moorage("policy", "roll", "iothubowner")
    line.moorage("policy", "roll", "provisioningserviceowner")
    (after,) = line.ask("env")
    for name in ("IOTHUB_CONNECTION_STRING", "DPS_CONNECTION_STRING"):
        assert before[name] != after[name]
    assert (
        after["IOTHUB_CONNECTION_STRING"]
        == line.moorage("policy", "show", "iothubowner", "--connection-string").strip()
    )
    hub.restart()
    assert line.ask("env") == [after]
    assert "policy.fixed" in line.moorage("policy", "delete", "iothubowner", code=1)


def test_a_token_opens_what_its_policy_and_path_do(hub: Hub, line: Line) -> None:
    line.moorage("device", "create", "pump-01", "--auth", "sas")
    assert status(hub, "Bearer " + line.moorage("token")) == 200
    assert status(hub, line.moorage("token", "--policy", "registryRead")) == 200
    assert status(hub, line.moorage("token", "--policy", "registryRead", "--secondary")) == 200
    narrow = line.moorage("token", "--policy", "registryRead", "--path", "devices/pump-01")
    assert (status(hub, narrow, "/devices/pump-01"), status(hub, narrow)) == (200, 401)
    assert status(hub, line.moorage("token", "--policy", "service")) == 401
    own = line.moorage("token", "--device", "pump-01", "--minutes", "90")
    assert f"sr={hub.hostname}%2Fdevices%2Fpump-01&" in own and "skn" not in own
    assert status(hub, own) == 401


@pytest.mark.parametrize(
    "words",
    [
        ("--policy", "service", "--device", "d"),
        ("--module", "m"),
        ("--path", "x"),
        ("--secondary",),
        ("--minutes", "1441"),
        ("--minutes", "0"),
    ],
)
def test_a_token_of_nobody_is_wrong_usage(hub: Hub, line: Line, words: tuple[str, ...]) -> None:
    line.moorage("token", *words, code=2)


def test_connection_strings_say_what_a_device_shows(hub: Hub, line: Line) -> None:
    line.moorage("device", "create", "by-key", "--auth", "sas", "--module", "m")
    line.moorage("device", "create", "by-ca")
    string = line.moorage("device", "connection-string", "by-key", "--module", "m", "--secondary").strip()
    assert re.fullmatch(rf"HostName={hub.hostname};DeviceId=by-key;ModuleId=m;SharedAccessKey=[\w+/=]+", string)
    assert (
        line.moorage("device", "connection-string", "by-ca").strip()
        == f"HostName={hub.hostname};DeviceId=by-ca;x509=true"
    )
    assert "identity.no_keys" in line.moorage("token", "--device", "by-ca", code=1)
    assert "device.not_found" in line.moorage("device", "connection-string", "nobody", code=1)


def test_switches_are_shown_and_turned(hub: Hub, line: Line) -> None:
    assert "refused" not in line.moorage("policy", "switches")
    (turned,) = line.ask("policy", "switches", "--disable-local-auth", "true", "--disable-module-sas", "true")
    assert turned == {"disableLocalAuth": True, "disableDeviceSAS": False, "disableModuleSAS": True}
    assert status(hub, line.moorage("token", "--policy", "iothubowner")) == 401
    assert "tokens of modules: refused" in line.moorage("policy", "switches")
    line.moorage("policy", "switches", "--disable-local-auth", "false", "--disable-module-sas", "false")
    assert status(hub, line.moorage("token", "--policy", "iothubowner")) == 200


def test_waivers_are_shown_given_and_taken_back(hub: Hub, line: Line) -> None:
    assert "waived" not in line.moorage("policy", "waivers")
    (given,) = line.ask("policy", "waivers", "--give", "rsa-1024")
    assert given == {"rsa-1024": True, "sha1-signature": False}
    lines = line.moorage("policy", "waivers").splitlines()
    assert [each.rpartition(": ")[2] for each in lines] == ["waived", "refused"]
    assert line.ask("policy", "waivers", "--take-back", "rsa-1024", "--give", "sha1-signature") == [
        {"rsa-1024": False, "sha1-signature": True}
    ]
    assert "or take it back" in line.moorage(
        "policy", "waivers", "--give", "rsa-1024", "--take-back", "rsa-1024", code=2
    )
    assert "md5" in line.moorage("policy", "waivers", "--give", "md5", code=2)
    line.moorage("policy", "waivers", "--take-back", "sha1-signature")


def test_the_names_of_waivers_are_those_that_there_are() -> None:
    assert (*WAIVERS,) == WAIVER_NAMES
