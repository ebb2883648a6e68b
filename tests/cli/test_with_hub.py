"""Commands against a real hub: `moorage up` as a process of its own, everything else as a user would type it."""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import shlex
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from moorage.cli import main
from moorage.cli.hub_client import HubClient
from moorage.hub_info import read_hub_info
from moorage.identities.sas import make_token
from moorage.ids import Secret

UP = [sys.executable, "-c", "import sys; from moorage.cli import main; sys.exit(main())", "up"]
PATIENCE_S = 60.0
_LAST = base64.b64encode(b'"last"').decode()
KEY = re.compile(r"[A-Za-z0-9+/]{43}=")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a hub that runs."""
    data = tmp_path_factory.mktemp("hub")
    process = subprocess.Popen(
        [
            *UP,
            "--json",
            "--mqtt-port",
            "0",
            "--https-port",
            "0",
            "--amqp-port",
            "0",
            "--amqp-plain-port",
            "0",
            "--web-port",
            "0",
            "--data",
            str(data),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert json.loads(line)["ready"] is True
    assert not KEY.search(line), "a key is in the banner"
    yield data
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    process.stdout.close()


@pytest.fixture
def run(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs one command in an empty folder; what it printed, on standard error when `code` is not 0."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOORAGE_DATA", str(hub))

    def run(*arguments: str, code: int = 0) -> str:
        returned = main(arguments)
        said = capsys.readouterr()
        assert returned == code, said.err
        return said.err if code else said.out

    return run


Run = Callable[..., str]


def ask(run: Run, *arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def test_wait_ends_when_the_hub_is_ready(run: Run) -> None:
    assert ask(run, "wait", "--timeout", "10")["ready"] is True


def test_env_has_exactly_the_names_that_programs_rely_on(run: Run, hub: Path) -> None:
    variables = ask(run, "env", "--format", "json")
    assert list(variables) == [
        "IOTHUB_HOSTNAME",
        "IOTHUB_CONNECTION_STRING",
        "DPS_ENDPOINT",
        "DPS_ID_SCOPE",
        "DPS_CONNECTION_STRING",
        "EVENTHUB_CONNECTION_STRING",
        "CA_BUNDLE",
        "WEB_URL",
    ]
    assert stat.S_IMODE((hub / "hub.json").stat().st_mode) == 0o600
    key = read_hub_info(hub).hub_key.reveal()
    port = read_hub_info(hub).amqp_port
    assert variables["EVENTHUB_CONNECTION_STRING"] == (
        f"Endpoint=sb://localhost:{port}/;SharedAccessKeyName=iothubowner;SharedAccessKey={key};EntityPath=localhost"
    )
    printed = subprocess.run(
        ["bash", "-c", 'eval "$1"; printf %s "$IOTHUB_CONNECTION_STRING"', "bash", run("env", "--format", "shell")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout == variables["IOTHUB_CONNECTION_STRING"]
    dotenv = dict(line.partition("=")[::2] for line in run("env", "--format", "dotenv").splitlines())
    assert dotenv == {name: value for name, value in variables.items() if value is not None}


def test_a_token_opens_the_api_and_nothing_else_does(run: Run, hub: Path) -> None:
    info = read_hub_info(hub)
    bearer = ask(run, "token", "--minutes", "1")["token"]
    url = f"https://localhost:{info.https_port}/devices?api-version=2021-04-12"
    trust = ssl.create_default_context(cafile=info.ca_bundle)
    assert httpx.get(url, headers={"Authorization": f"Bearer {bearer}"}, verify=trust).status_code == 200
    assert httpx.get(url, headers={"Authorization": f"Bearer {bearer[:-1]}x"}, verify=trust).status_code == 401


def test_a_command_that_runs_longer_than_its_token_goes_on(run: Run, hub: Path) -> None:
    # Renewed at half of its time: the other half is for a request to reach the hub.
    with closing(HubClient(hub, bearer_lifetime=timedelta(seconds=4))) as client:
        began = time.monotonic()
        while time.monotonic() < began + 5:
            client.request("GET", "/statistics/service")
            time.sleep(0.1)


def test_who_follows_longer_than_its_token_goes_on_and_misses_nothing(hub: Path) -> None:
    with ExitStack() as stack:
        client, follower, watcher = (
            stack.enter_context(closing(HubClient(hub, bearer_lifetime=timedelta(seconds=seconds))))
            for seconds in (3600, 2, 2)
        )
        client.request("PUT", "/devices/followed", body={"deviceId": "followed", "authentication": {"type": "sas"}})
        key = client.request("GET", "/devices/followed")["authentication"]["symmetricKey"]["primaryKey"]
        telemetry, follow = _gathered(follower, "/moorage/v1/telemetry/stream", {"device": "followed", "from": "start"})
        refused, watch = _gathered(watcher, "/moorage/v1/connection-events", {})
        until = time.monotonic() + PATIENCE_S
        while not refused and time.monotonic() < until:
            time.sleep(0.01)
        info = read_hub_info(hub)
        trust = ssl.create_default_context(cafile=info.ca_bundle)
        http = stack.enter_context(httpx.Client(verify=trust, base_url=f"https://localhost:{info.https_port}"))
        token = make_token("localhost/devices/followed", Secret(key), datetime.now(UTC) + timedelta(hours=1)).reveal()
        sent, began, is_last = 0, time.monotonic(), False
        while not is_last:
            is_last = time.monotonic() > began + 7
            name = "last" if is_last else str(sent)
            for device, status in (("followed", 204), (f"stranger-{name}", 401)):
                answer = http.post(
                    f"/devices/{device}/messages/events?api-version=2021-04-12",
                    content=json.dumps(name),
                    headers={"Authorization": token},
                )
                assert answer.status_code == status
            sent += 1
            time.sleep(0.02)
        for thread in (follow, watch):
            thread.join(PATIENCE_S)
        names = [*map(str, range(sent - 1)), "last"]
        assert [json.loads(base64.b64decode(document["bodyBase64"])) for _, document in telemetry] == names
        strangers = [document["claimedId"] for event, document in refused if event == "refused"]
        assert strangers == [f"stranger-{name}" for name in names]
        client.request("DELETE", "/devices/followed", if_match="*")


def _gathered(client: HubClient, path: str, query: dict[str, str]) -> tuple[list[tuple[str, Any]], threading.Thread]:
    """What the stream tells, as it comes, and the thread that hears it: up to what is called the last.

    A connection belongs to the thread that reads it. Closed under it, its number would be another file's soon, and the
    thread would read that.
    """
    gathered: list[tuple[str, Any]] = []

    def gather() -> None:
        for event, data in client.follow(path, query):
            document = json.loads(data)
            gathered.append((event, document))
            if document.get("claimedId") == "stranger-last" or document.get("bodyBase64") == _LAST:
                return

    thread = threading.Thread(target=gather, daemon=True)
    thread.start()
    return gathered, thread


def test_a_device_is_created_shown_disabled_and_deleted(run: Run) -> None:
    assert "Created device pump-01" in run("device", "create", "pump-01")
    assert ask(run, "device", "show", "pump-01")["authentication"]["type"] == "certificateAuthority"
    assert "pump-01" in run("device", "create", "pump-01", code=1)
    run("device", "disable", "pump-01")
    assert ask(run, "device", "show", "pump-01")["status"] == "disabled"
    run("device", "enable", "pump-01")
    assert "pump-01\tcertificateAuthority\tenabled" in run("device", "list")
    run("device", "delete", "pump-01")
    assert "pump-01" in run("device", "show", "pump-01", code=1)


def test_the_fix_of_a_refusal_is_apart_from_its_message(run: Run) -> None:
    error = json.loads(run("twin", "show", "no-such", "--json", code=1))["error"]
    assert error["reason"] == "device.not_found"
    assert error["fix"] == "moorage device list"
    assert error["message"].endswith("on hub 'hub'")


def test_what_is_not_there_to_be_changed_is_looked_for_in_the_list(run: Run) -> None:
    for command in ("delete", "disable", "enable"):
        error = json.loads(run("device", command, "no-such", "--json", code=1))["error"]
        assert (error["reason"], error["fix"]) == ("device.not_found", "moorage device list")


def test_what_exists_is_to_be_updated_and_the_fix_does_it(run: Run) -> None:
    thumbprint = "AB" * 32
    run("device", "create", "twice", "--module", "m1")
    create = ("device", "create", "twice", "--auth", "x509-thumbprint", "--primary-thumbprint", thumbprint)
    for more, reason, wanted in ((), "device.exists", "twice"), (("--module", "m1"), "module.exists", "twice/m1"):
        error = json.loads(run(*create, *more, "--json", code=1))["error"]
        assert (error["reason"], "If-Match" in error["message"]) == (reason, False)
        words = shlex.split(error["fix"])
        assert words[0] == "moorage"
        assert f"{wanted} authenticates as selfSigned." in run(*words[1:])


def test_who_never_was_active_is_listed_so(run: Run) -> None:
    run("device", "create", "idle")
    assert "idle\tcertificateAuthority\tenabled\tDisconnected\tnever\n" in run("device", "list")


def test_a_device_with_keys_gets_a_connection_string_and_its_modules_one_each(run: Run) -> None:
    lines = run("device", "create", "keyed", "--auth", "sas", "--module", "m1", "--module", "m2").splitlines()
    strings = [line for line in lines if line.startswith("HostName=localhost;")]
    assert [re.sub(r"SharedAccessKey=.*", "", line) for line in strings] == [
        "HostName=localhost;DeviceId=keyed;",
        "HostName=localhost;DeviceId=keyed;ModuleId=m1;",
        "HostName=localhost;DeviceId=keyed;ModuleId=m2;",
    ]
    assert len({line.partition("SharedAccessKey=")[2] for line in strings}) == 3


def test_a_thumbprint_comes_from_a_file_or_is_given(run: Run) -> None:
    made = ask(run, "cert", "device", "pinned")
    document = ask(run, "device", "create", "pinned", "--auth", "x509-thumbprint", "--certificate", "pinned_cert.pem")
    assert document["authentication"]["x509Thumbprint"]["primaryThumbprint"] == made["sha256Thumbprint"]
    given = ask(
        run,
        *("device", "create", "pinned-2", "--auth", "x509-thumbprint"),
        *("--primary-thumbprint", made["sha1Thumbprint"].lower(), "--secondary-thumbprint", made["sha256Thumbprint"]),
    )
    assert given["authentication"]["x509Thumbprint"]["primaryThumbprint"].upper() == made["sha1Thumbprint"]
    assert "thumbprint.length" in run(
        "device", "create", "x", "--auth", "x509-thumbprint", "--primary-thumbprint", "AB", code=1
    )
    run("device", "create", "x", "--auth", "x509-thumbprint", code=2)
    run("device", "create", "x", "--auth", "sas", "--certificate", "pinned_cert.pem", code=2)
    both = ("--secondary", "pinned_cert.pem", "--secondary-thumbprint", "AB" * 20)
    run("device", "create", "x", "--auth", "x509-thumbprint", "--certificate", "pinned_cert.pem", *both, code=2)


def test_a_device_changes_how_it_authenticates_and_a_thumbprint_takes_the_place_of_that_one_alone(run: Run) -> None:
    old, new = (ask(run, "cert", "device", stem)["sha256Thumbprint"] for stem in ("rolled", "rolled-next"))
    run("device", "create", "rolled", "--auth", "sas")
    key = ask(run, "device", "show", "rolled")["authentication"]["symmetricKey"]["primaryKey"]
    same = ask(run, "device", "update", "rolled", "--auth", "sas", "--status", "disabled")
    assert (same["status"], same["authentication"]["symmetricKey"]["primaryKey"]) == ("disabled", key)
    update = ("device", "update", "rolled")
    assert "rolled authenticates as selfSigned." in run(
        *update, "--auth", "x509-thumbprint", "--certificate", "rolled_cert.pem", "--status", "enabled"
    )
    document = ask(run, *update, "--secondary-thumbprint", new)
    assert document["status"] == "enabled"
    assert document["authentication"] == {
        "type": "selfSigned",
        "symmetricKey": {"primaryKey": None, "secondaryKey": None},
        "x509Thumbprint": {"primaryThumbprint": old, "secondaryThumbprint": new},
    }
    rolled = ask(run, *update, "--primary-thumbprint", new)["authentication"]["x509Thumbprint"]
    assert rolled == {"primaryThumbprint": new, "secondaryThumbprint": new}
    rolled = ask(run, *update, "--secondary", "rolled_cert.pem")["authentication"]["x509Thumbprint"]
    assert rolled == {"primaryThumbprint": new, "secondaryThumbprint": old}
    assert ask(run, *update, "--auth", "x509-ca")["authentication"]["type"] == "certificateAuthority"
    assert len(ask(run, *update, "--auth", "sas")["authentication"]["symmetricKey"]["primaryKey"]) == 44


def test_an_update_names_a_module_and_says_what_does_not_go_together(run: Run) -> None:
    thumbprint = "AB" * 32
    run("device", "create", "parent", "--auth", "sas", "--module", "m1")
    update = ("device", "update", "parent")
    changed = ask(run, *update, "--module", "m1", "--auth", "x509-thumbprint", "--primary-thumbprint", thumbprint)
    assert (changed["moduleId"], changed["authentication"]["type"]) == ("m1", "selfSigned")
    assert ask(run, "device", "show", "parent")["authentication"]["type"] == "sas"
    run(*update, code=2)
    run(*update, "--module", "m1", "--status", "disabled", code=2)
    run(*update, "--auth", "x509-thumbprint", code=2)
    run(*update, "--auth", "sas", "--primary-thumbprint", thumbprint, code=2)
    assert "registered as sas" in run(*update, "--secondary-thumbprint", thumbprint, code=2)
    assert "thumbprint.length" in run(*update, "--auth", "x509-thumbprint", "--primary-thumbprint", "AB", code=1)
    assert "device.not_found" in run("device", "update", "nobody", "--status", "enabled", code=1)


def test_a_ca_is_registered_and_proven_step_by_step(run: Run) -> None:
    run("cert", "root", "step-ca")
    assert "not proven yet" in run("ca", "add", "stepCa_cert.pem")
    code = run("ca", "code", "step-ca")
    assert code.count("\n") == 1
    run("cert", "verification", "--issuer", "step-ca", "--code", code)
    run("ca", "verify", "step-ca", "verification_cert.pem")
    states = [line.split("\t") for line in run("ca", "list").splitlines() if line.startswith("step-ca\t")]
    assert [(row[1], row[2]) for row in states] == [("hub, dps", "proven")]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", states[0][4])
    listed = [json.loads(line) for line in run("ca", "list", "--json").splitlines()]
    assert [each["for"] for each in listed if each["name"] == "step-ca"] == ["hub", "dps"]


def test_a_ca_that_is_proven_for_one_service_alone_has_a_row_for_each(run: Run) -> None:
    run("cert", "root", "half-way")
    run("ca", "add", "halfWay_cert.pem", "--verified", "--for", "dps")
    run("ca", "add", "halfWay_cert.pem", "--for", "hub")
    states = [line.split("\t")[1:3] for line in run("ca", "list").splitlines() if line.startswith("half-way\t")]
    assert states == [["hub", "not proven"], ["dps", "proven"]]


def test_a_ca_is_proven_in_one_step_with_its_key_alone(run: Run) -> None:
    run("cert", "root", "one-step")
    run("cert", "root", "other")
    assert "proof.wrong_key" in run("ca", "add", "oneStep_cert.pem", "--prove-with", "other_key.pem", code=1)
    assert "one-step" not in run("ca", "list")
    assert "proven" in run("ca", "add", "oneStep_cert.pem", "--prove-with", "oneStep_key.pem")
    assert all(each["properties"]["isVerified"] for each in ask(run, "ca", "add", "oneStep_cert.pem"))


def test_a_ca_is_vouched_for_and_for_one_service_alone_when_told(run: Run) -> None:
    run("cert", "root", "vouched")
    (document,) = ask(run, "ca", "add", "vouched_cert.pem", "--verified", "--for", "hub", "--name", "other-name")
    assert document["properties"]["isVerified"] is True
    assert "ca.unknown" in run("ca", "code", "other-name", "--for", "dps", code=1)
    run("ca", "delete", "other-name")
    assert "ca.unknown" in run("ca", "delete", "other-name", code=1)


def test_a_code_signed_by_another_key_proves_nothing(run: Run) -> None:
    run("cert", "root", "same-name")
    run("ca", "add", "sameName_cert.pem")
    code = run("ca", "code", "same-name").splitlines()[0]
    run("cert", "root", "same-name", "--stem", "twin")
    run("cert", "verification", "--issuer", "twin_cert.pem", "--code", code)
    assert "proof.wrong_signer" in run("ca", "verify", "same-name", "verification_cert.pem", code=1)


def test_a_private_key_is_not_sent_to_be_refused_by_the_hub(run: Run, tmp_path: Path) -> None:
    run("cert", "root", "leaky")
    both = (tmp_path / "leaky_cert.pem").read_text() + (tmp_path / "leaky_key.pem").read_text()
    (tmp_path / "both.pem").write_text(both)
    said = run("ca", "add", "both.pem", code=1)
    assert "certificate.private_key" in said
    assert "PRIVATE KEY" not in said


def test_a_group_by_certificate_is_rolled_disabled_and_deleted(run: Run) -> None:
    run("cert", "root", "group-ca")
    run("cert", "root", "next-ca")
    assert "id scope" in run("enrollment-group", "create", "line-7", "--certificate", "groupCa_cert.pem")
    run("enrollment-group", "update", "line-7", "--secondary", "nextCa_cert.pem")
    slots = ask(run, "enrollment-group", "show", "line-7")["attestation"]["x509"]["signingCertificates"]
    assert [slots[slot]["info"]["subjectName"] for slot in ("primary", "secondary")] == ["CN=group-ca", "CN=next-ca"]
    run("enrollment-group", "update", "line-7", "--remove", "primary", "--certificate", "groupCa_cert.pem", code=2)
    slots = ask(run, "enrollment-group", "update", "line-7", "--remove", "primary")["attestation"]["x509"]
    assert "primary" not in slots["signingCertificates"]
    assert slots["signingCertificates"]["secondary"]["info"]["subjectName"] == "CN=next-ca"
    assert "nothing in its slot primary" in run("enrollment-group", "update", "line-7", "--remove", "primary", code=2)
    run("enrollment-group", "update", "line-7", "--disable")
    assert "line-7\tx509\tdisabled" in run("enrollment-group", "list")
    run("enrollment-group", "delete", "line-7")
    run("enrollment-group", "show", "line-7", code=1)


@pytest.fixture
def strict(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Commands to a hub that takes nobody's word for a certificate."""
    data = tmp_path / "strict"
    process = subprocess.Popen(
        [
            *UP,
            "--json",
            "--mqtt-port",
            "0",
            "--https-port",
            "0",
            "--amqp-port",
            "0",
            "--amqp-plain-port",
            "0",
            "--web-port",
            "0",
            "--data",
            str(data),
            "--vouched-certificates",
            "no",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline())["ready"] is True
        monkeypatch.setenv("MOORAGE_DATA", str(data))
        yield run
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def test_a_group_of_a_hub_that_believes_nobody_is_proven_slot_by_slot(strict: Run) -> None:
    strict("cert", "root", "first-ca")
    strict("cert", "root", "second-ca")
    create = ["enrollment-group", "create", "line-8", "--certificate", "firstCa_cert.pem"]
    said = strict(*create, "--secondary", "secondCa_cert.pem")
    assert "Next: moorage enrollment-group code line-8\n" in said
    assert "Next: moorage enrollment-group code line-8 --slot secondary\n" in said
    refused = strict("enrollment-group", "vouch", "line-8", "--slot", "secondary", code=1)
    assert "enrollment.vouching_off" in refused
    assert "fix: moorage enrollment-group code line-8 --slot secondary" in refused

    for slot, issuer in (("primary", "first-ca"), ("secondary", "second-ca")):
        code = strict("enrollment-group", "code", "line-8", "--slot", slot)
        assert code.count("\n") == 1
        strict("cert", "verification", "--issuer", issuer, "--code", code, "--force")
        verify = ["enrollment-group", "verify", "line-8", "verification_cert.pem"]
        other = "secondary" if slot == "primary" else "primary"
        assert "proof.no_code" in strict(*verify, "--slot", other, code=1)
        said = strict(*verify, "--slot", slot)
        assert said == f"The {slot} certificate of line-8 (CN={issuer}) is proven.\n"
    again = strict("enrollment-group", "verify", "line-8", "verification_cert.pem", "--slot", "secondary", code=1)
    assert "fix: moorage enrollment-group code line-8 --slot secondary" in again
    assert "enrollment.unknown" in strict("enrollment-group", "code", "nobody", code=1)


def test_a_certificate_of_a_group_is_vouched_for(run: Run) -> None:
    run("cert", "root", "word-ca")
    said = run("enrollment-group", "create", "by-word", "--certificate", "wordCa_cert.pem")
    assert "Next" not in said
    assert ask(run, "enrollment-group", "vouch", "by-word")["proof"] == "vouched"
    assert "enrollment.slot_empty" in run("enrollment-group", "vouch", "by-word", "--slot", "secondary", code=1)


def test_a_group_by_ca_names_one_that_is_proven(run: Run) -> None:
    run("cert", "root", "referred")
    run("ca", "add", "referred_cert.pem", "--prove-with", "referred_key.pem")
    document = ask(run, "enrollment-group", "create", "by-name", "--ca", "referred", "--reprovision", "never")
    assert document["attestation"]["x509"]["caReferences"]["primary"] == "referred"
    assert document["reprovisionPolicy"] == {"updateHubAssignment": False, "migrateDeviceData": False}
    run("enrollment-group", "update", "by-name", "--certificate", "referred_cert.pem", code=2)
    run("enrollment-group", "create", "two", "--ca", "referred", "--symmetric-key", code=2)


def test_a_group_by_ca_is_rolled_to_another(run: Run) -> None:
    for name in ("old-ca", "new-ca"):
        run("cert", "root", name)
    for stem in ("oldCa", "newCa"):
        run("ca", "add", f"{stem}_cert.pem", "--prove-with", f"{stem}_key.pem")
    run("enrollment-group", "create", "rolled", "--ca", "old-ca")
    run("enrollment-group", "update", "rolled", "--secondary-ca", "new-ca")
    references = ask(run, "enrollment-group", "show", "rolled")["attestation"]["x509"]["caReferences"]
    assert references == {"primary": "old-ca", "secondary": "new-ca"}
    changed = ask(run, "enrollment-group", "update", "rolled", "--remove", "secondary", "--ca", "new-ca")
    assert changed["attestation"]["x509"]["caReferences"] == {"primary": "new-ca"}
    run("enrollment-group", "update", "rolled", "--ca", "nobody", code=1)
    run("enrollment-group", "update", "rolled", code=2)


@pytest.mark.parametrize(
    "options",
    [
        ["--ca", "referred", "--secondary", "referred_cert.pem"],
        ["--certificate", "referred_cert.pem", "--secondary-ca", "referred"],
        ["--symmetric-key", "--secondary", "referred_cert.pem"],
    ],
    ids=" ".join,
)
def test_a_second_slot_of_another_kind_than_the_first_is_a_usage_error(run: Run, options: list[str]) -> None:
    run("cert", "root", "referred")
    assert "goes with" in run("enrollment-group", "create", "mixed", *options, code=2)


def test_enrollments_by_key_print_their_keys_once_asked_for(run: Run) -> None:
    assert run("enrollment", "create", "key-dev", "--symmetric-key").count(" key: ") == 2
    keys = ask(run, "enrollment", "create", "key-dev-2", "--symmetric-key")["attestation"]["symmetricKey"]
    assert keys["primaryKey"] != keys["secondaryKey"]
    assert keys["primaryKey"] not in run("enrollment", "show", "key-dev-2")


def test_an_individual_enrollment_by_certificate(run: Run) -> None:
    run("cert", "device", "solo")
    document = ask(
        run,
        *("enrollment", "create", "solo", "--certificate", "solo_cert.pem", "--device-id", "Solo"),
        *("--desired", '{"interval": 5}', "--disabled"),
    )
    assert (document["deviceId"], document["provisioningStatus"]) == ("Solo", "disabled")
    run("enrollment", "update", "solo", "--enable")
    assert ask(run, "enrollment", "show", "solo")["provisioningStatus"] == "enabled"
    assert "json.not_object" in run(
        "enrollment", "create", "s2", "--certificate", "solo_cert.pem", "--desired", "[]", code=1
    )


def test_a_twin_is_changed_and_what_is_no_json_is_refused_by_name(run: Run) -> None:
    run("device", "create", "twinned")
    run("twin", "update", "twinned", "--desired", '{"a": {"b": 1}}', "--tags", '{"site": "x"}')
    document = ask(run, "twin", "show", "twinned")
    assert document["properties"]["desired"]["a"] == {"b": 1}
    assert document["tags"] == {"site": "x"}
    assert "--desired is not JSON" in run("twin", "update", "twinned", "--desired", "{", code=1)
    run("twin", "update", "twinned", code=2)


def test_a_method_on_a_device_that_is_away_says_so(run: Run) -> None:
    run("device", "create", "away")
    error = json.loads(run("method", "call", "away", "reboot", "--json", code=1))["error"]
    assert "waiting for device to connect" in error["message"]
    assert error["fix"].endswith("--connect-timeout 30")


def test_a_message_waits_for_its_device(run: Run) -> None:
    run("device", "create", "later")
    answer = ask(run, "c2d", "send", "later", "hello", "--property", "a=b=c")
    assert answer["messageId"]
    assert ask(run, "device", "show", "later")["cloudToDeviceMessageCount"] == 1
    run("c2d", "send", "later", "hello", "--property", "no-equals", code=2)


def test_explain_without_an_attempt_says_that_nothing_arrived(run: Run) -> None:
    assert "attempts.none" in run("explain", "--device", "never-seen", code=1)
    assert "moorage explain --device dev-x" in run("explain", "dev-x", code=1)
    run("explain", "--device", "a", "--thumbprint", "AB" * 20, code=2)


def test_explain_tells_of_a_service_call_with_a_wrong_key(run: Run, hub: Path) -> None:
    info = read_hub_info(hub)
    answer = httpx.get(
        f"https://localhost:{info.https_port}/devices?api-version=2021-04-12",
        headers={"Authorization": "SharedAccessSignature sr=localhost&sig=AAAA&se=4000000000&skn=iothubowner"},
        verify=ssl.create_default_context(cafile=info.ca_bundle),
    )
    assert answer.status_code == 401
    tracking = re.search(r"Tracking ID:([0-9A-Fa-f]+)", answer.text)
    assert tracking is not None
    (attempt,) = [json.loads(line) for line in run("explain", tracking[1], "--json").splitlines()]
    assert (attempt["accepted"], attempt["door"]) == (False, "service")
    said = run("explain", tracking[1])
    assert attempt["reason"] in said
    assert attempt["message"] in said


@pytest.mark.parametrize("text", ["yesterday", "0001-01-01", "9999-12-31T23:59:59-12:00"])
def test_telemetry_from_a_time_that_is_none_is_refused(run: Run, text: str) -> None:
    assert "telemetry.from" in run("telemetry", "tail", "--from", text, code=1)


def test_a_list_of_enrollments_goes_on_behind_its_first_page(
    hub: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(HubClient(hub)) as client:
        attestation = {"type": "symmetricKey", "symmetricKey": {}}
        names = [f"many-{number:03}" for number in range(120)]
        for name in names:
            client.request("PUT", f"/enrollments/{name}", body={"registrationId": name, "attestation": attestation})
    listed = [json.loads(line)["registrationId"] for line in run("enrollment", "list", "--json").splitlines()]
    assert [name for name in listed if name.startswith("many-")] == names
    monkeypatch.setattr("moorage.cli.hub_client._PAGE", "7")
    assert [json.loads(line)["registrationId"] for line in run("enrollment", "list", "--json").splitlines()] == listed


def test_a_hub_may_have_more_connections_than_a_shell_gives_it_files(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    process = subprocess.Popen(
        [
            "sh",
            "-c",
            'ulimit -Sn 256 && exec "$0" "$@"',
            *UP,
            "--json",
            "--mqtt-port",
            "0",
            "--https-port",
            "0",
            "--amqp-port",
            "0",
            "--amqp-plain-port",
            "0",
            "--web-port",
            "0",
        ]
        + ["--max-connections", "5000", "--data", str(tmp_path / "hub")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        pid = json.loads(process.stdout.readline())["pid"]
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] >= min(5000, hard)
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def test_a_second_hub_on_the_same_port_names_the_fix(run: Run, hub: Path, tmp_path: Path) -> None:
    taken = str(read_hub_info(hub).mqtt_port)
    refused = subprocess.run(
        [
            *UP,
            "--json",
            "--mqtt-port",
            taken,
            "--https-port",
            "0",
            "--amqp-port",
            "0",
            "--amqp-plain-port",
            "0",
            "--web-port",
            "0",
            "--data",
            str(tmp_path / "second"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1
    error = json.loads(refused.stderr.splitlines()[-1])["error"]
    assert error["reason"] == "port.taken"
    assert taken in error["message"]
    assert "--bind 127.0.0.2 --hostname 127.0.0.2" in error["fix"]


def refused_start(*arguments: str, before: tuple[str, ...] = ()) -> Any:
    """What a hub that cannot start says."""
    ended = subprocess.run(
        [*before, *UP, "--json", "--mqtt-port", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    # The log goes there too.
    [error] = [json.loads(line)["error"] for line in ended.stderr.splitlines() if line.startswith('{"error"')]
    return error


def test_a_hub_tells_of_its_start_its_stop_and_of_an_end_that_was_none(tmp_path: Path) -> None:
    """SIGHUP is what a terminal sends when it is closed."""

    def live(end: signal.Signals, code: int) -> str:
        with (tmp_path / "log").open("w+") as written:
            process = subprocess.Popen(
                [
                    *UP,
                    "--json",
                    "--mqtt-port",
                    "0",
                    "--https-port",
                    "0",
                    "--amqp-port",
                    "0",
                    "--amqp-plain-port",
                    "0",
                    "--web-port",
                    "0",
                    "--data",
                    str(tmp_path / "hub"),
                ],
                stdout=subprocess.PIPE,
                stderr=written,
                text=True,
                env={**os.environ, "MOORAGE_MQTT_PROT": "1"},
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            )
            assert process.stdout is not None
            assert process.stdout.readline()
            process.send_signal(end)
            assert process.wait(60) == code
            process.stdout.close()
            written.seek(0)
            return written.read()

    first = live(signal.SIGKILL, -signal.SIGKILL)
    assert "started mqtt=127.0.0.1:" in first
    assert "variable_unknown name=MOORAGE_MQTT_PROT; did you mean MOORAGE_MQTT_PORT?" in first
    assert "unclean" not in first
    second = live(signal.SIGHUP, 0)
    assert "WARNING moorage.app started_after_unclean_end" in second
    assert second.index("stopping") < second.index("stopped")
    assert "unclean" not in live(signal.SIGTERM, 0)


def test_on_a_terminal_only_warnings_are_shown(tmp_path: Path) -> None:
    def said(*arguments: str) -> bytes:
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            [
                *UP,
                "--json",
                "--mqtt-port",
                "0",
                "--https-port",
                "0",
                "--amqp-port",
                "0",
                "--amqp-plain-port",
                "0",
                "--web-port",
                "0",
                "--data",
                str(tmp_path / "hub"),
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        assert process.stdout is not None
        assert process.stdout.readline()
        process.terminate()
        assert process.wait(60) == 0
        process.stdout.close()
        os.write(theirs, b"end")
        text = os.read(ours, 65536)
        os.close(ours)
        os.close(theirs)
        return text

    assert said() == b"end"
    assert b"started mqtt=" in said("--log", "info")


def test_a_key_file_that_is_missing_is_named_and_none_is_made(tmp_path: Path) -> None:
    data = tmp_path / "hub"
    data.mkdir(mode=0o700)
    (data / "registry.db").write_bytes(b"")
    error = refused_start(
        "--https-port", "0", "--amqp-port", "0", "--amqp-plain-port", "0", "--web-port", "0", "--data", str(data)
    )
    assert error["reason"] == "secrets_key.missing"
    assert str(data / "secrets.key") in error["message"]
    assert not (data / "secrets.key").exists()


def test_an_empty_owner_key_is_named_with_what_to_do(tmp_path: Path) -> None:
    data = tmp_path / "hub"
    data.mkdir(mode=0o700)
    (data / "owner.key").write_bytes(b"")
    error = refused_start(
        "--https-port", "0", "--amqp-port", "0", "--amqp-plain-port", "0", "--web-port", "0", "--data", str(data)
    )
    assert error["reason"] == "owner_key.malformed"
    assert str(data / "owner.key") in error["message"]
    assert f"rm {data / 'owner.key'}" in error["fix"]


def test_an_empty_data_folder_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "list", "--data", ""]) == 2
    assert "--data ." in capsys.readouterr().err


def without_low_ports() -> tuple[str, ...]:
    """What to start a program with so that it may not listen on 443."""
    first_unprivileged = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if first_unprivileged.exists() and int(first_unprivileged.read_text()) <= 443:
        pytest.skip("this machine permits 443 to everybody")
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service")


def test_443_that_was_asked_for_and_is_not_permitted_is_refused(tmp_path: Path) -> None:
    error = refused_start("--https-port", "443", "--data", str(tmp_path / "hub"), before=without_low_ports())
    assert error["reason"] == "port.not_permitted"
    assert "443" in error["message"]


def test_a_hub_that_has_gone_is_not_reachable(tmp_path: Path, hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads((hub / "hub.json").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        document["httpsPort"] = free.getsockname()[1]
    (tmp_path / "hub.json").write_text(json.dumps(document))
    os.link(hub / "owner.key", tmp_path / "owner.key")
    assert main(["device", "list", "--data", str(tmp_path)]) == 3
    assert "hub.unreachable" in capsys.readouterr().err


def test_where_443_is_not_permitted_8443_is_taken_and_the_cost_told(tmp_path: Path) -> None:
    drop = without_low_ports()
    process = subprocess.Popen(
        [*drop, *UP, "--json", "--mqtt-port", "0", "--data", str(tmp_path / "hub")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
    assert told["httpsPort"] == 8443
    assert any("443" in warning and "Node" in warning for warning in told["warnings"])
    variables = read_hub_info(tmp_path / "hub").environment()
    assert (variables["IOTHUB_CONNECTION_STRING"] or "").startswith("HostName=localhost:8443;")


def test_devices_stand_below_a_gateway_and_leave_it_again(run: Run) -> None:
    run("device", "create", "gateway-1", "--edge", "--auth", "sas")
    run("device", "create", "gateway-2", "--edge", "--auth", "sas")
    run("device", "create", "leaf-1")
    assert run("device", "parent", "leaf-1", "gateway-1") == "leaf-1 stands below gateway-1.\n"
    run("device", "parent", "gateway-2", "gateway-1")
    children = [json.loads(line)["deviceId"] for line in run("device", "children", "gateway-1", "--json").splitlines()]
    assert sorted(children) == ["gateway-2", "leaf-1"]
    run("device", "parent", "leaf-1", "--none")
    assert "leaf-1" not in run("device", "children", "gateway-1")
    assert "device_scope.no_edge" in run("device", "parent", "gateway-1", "leaf-1", code=1)


def test_keys_of_a_device_are_rolled_one_by_one(run: Run) -> None:
    run("device", "create", "rolled-keys", "--auth", "sas")
    before = ask(run, "device", "show", "rolled-keys")["authentication"]["symmetricKey"]
    after = ask(run, "device", "roll-key", "rolled-keys", "--key", "secondary")["symmetricKey"]
    assert after["primaryKey"] == before["primaryKey"]
    assert after["secondaryKey"] != before["secondaryKey"]


def test_a_module_is_made_shown_changed_and_deleted(run: Run) -> None:
    run("device", "create", "with-modules")
    assert ask(run, "module", "create", "with-modules", "camera", "--auth", "sas")["moduleId"] == "camera"
    assert "camera" in run("module", "list", "with-modules")
    assert ask(run, "module", "update", "with-modules", "camera", "--auth", "x509-ca")["authentication"]["type"] == (
        "certificateAuthority"
    )
    run("module", "delete", "with-modules", "camera")
    assert "module.not_found" in run("module", "show", "with-modules", "camera", code=1)


def test_a_twin_is_replaced_as_a_whole(run: Run) -> None:
    run("device", "create", "replaced")
    run("twin", "update", "replaced", "--tags", '{"a": 1, "b": 2}', "--desired", '{"kept": true}')
    twin = ask(run, "twin", "replace", "replaced", "--tags", '{"c": 3}')
    assert twin["tags"] == {"c": 3}
    assert twin["properties"]["desired"]["kept"] is True


def test_messages_that_wait_are_dropped(run: Run) -> None:
    run("device", "create", "waiting")
    run("c2d", "send", "waiting", "one", "--ack", "full", "--expires-in", "60", "--message-id", "m-1")
    run("c2d", "send", "waiting", "two")
    assert run("c2d", "purge", "waiting") == "Dropped 2 messages for waiting.\n"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("device", "show", "pumps-"), ["pumps-01", "pumps-02"]),
        (("twin", "show", "pumps-02"), ["pumps-02"]),
        (("module", "show", "pumps-01", ""), ["camera"]),
        (("device", "show", "it's\\"), []),
    ],
)
def test_ids_complete_from_the_running_hub(run: Run, words: tuple[str, ...], offered: list[str]) -> None:
    for name in ("pumps-01", "pumps-02"):
        main(["device", "create", name, "--module", "camera"])
    assert completions(words) == offered


def completions(words: tuple[str, ...]) -> list[str]:
    """What a shell is offered for the last of `words`."""
    environment = {
        **os.environ,
        "_MOORAGE_COMPLETE": "zsh_complete",
        "COMP_WORDS": shlex.join(["moorage", *words[:-1]]) + (" " + words[-1] if words[-1] else ""),
        "COMP_CWORD": str(len(words)),
    }
    shell = subprocess.run(UP[:-1], env=environment, capture_output=True, text=True, timeout=60, check=True)
    lines = shell.stdout.strip().splitlines()
    return [value for kind, value, _ in zip(lines[::3], lines[1::3], lines[2::3], strict=True) if kind == "plain"]
