"""Clients that nobody here wrote, as they are: rhea, azure-eventhub and uamqp, each in a process of its own."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from moorage.pki.issue import issue_server
from moorage.pki.keys import make_key, save_key
from moorage.protocols.amqp.performatives import Accepted, Released
from tests.certs import LIFETIME, root
from tests.e2e.node.workshop import HERE as NODE
from tests.e2e.node.workshop import install_packages
from tests.protocol.amqp.shell import EVENTS, serve

HERE = Path(__file__).parent


def run(*command: str) -> dict[str, Any]:
    """What a client prints last. It is given a minute and a half, for it starts slowly on a busy machine."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    found = json.loads(lines[-1])
    assert isinstance(found, dict)
    return found


def rhea(port: int, mode: str) -> dict[str, Any]:
    node = shutil.which("node")
    if not (node and shutil.which("npm")):
        pytest.skip("needs Node with npm")
    install_packages()
    return run(node, str(HERE / "rhea_client.js"), str(NODE / "node_modules" / "rhea"), str(port), mode)


@pytest.mark.parametrize("mode", ["plain", "sasl", "small"])
def test_rhea_sends_receives_releases_and_is_refused(mode: str) -> None:
    with serve(needs_sasl=mode == "sasl") as (shell, port):
        seen = rhea(port, mode)
        assert shell.errors == []
        assert shell.gate.seen == (["PLAIN"] if mode == "sasl" else [])
        assert len(shell.opened) == 1  # it never lost us, while we sent it empty frames
    assert "error" not in seen and "failure" not in seen
    assert (seen["accepted"], seen["released"]) == (205, 5)
    assert seen["refused"] == "amqp:not-found"
    assert seen["rejected"] == ["com.microsoft:argument-error"]
    assert sorted(seen["received"]) == sorted(
        [200_000 if number == 3 else number, {"number": f"{number}"}, f"m{number}", 16] for number in range(205)
    )
    assert shell.outcomes.count(Released()) == 5
    assert shell.outcomes.count(Accepted()) == 205


def test_rhea_is_told_that_its_password_is_wrong() -> None:
    with serve(needs_sasl=True) as (shell, port):
        seen = rhea(port, "wrong")
        assert shell.opened == []
    assert seen["accepted"] == 0


def test_azure_eventhub_reads_partitions_and_sends_a_batch() -> None:
    with serve() as (shell, port):
        seen = run(sys.executable, str(HERE / "eventhub_client.py"), str(port), str(EVENTS))
        assert shell.errors == []
        assert set(shell.gate.seen) == {"ANONYMOUS"}
        assert [len(message.body) for message in shell.received] == [3, 90_000]
    assert seen["errors"] == []
    assert (seen["hub"], seen["last"]) == (["0", "1"], EVENTS - 1)
    assert (seen["count 0"], seen["count 1"]) == (EVENTS, 3)
    assert seen["0"][7] == [7, "7", 150_000, "application/json"]


def test_uamqp_puts_a_token_sends_and_receives(tmp_path: Path) -> None:
    # Its own copy of OpenSSL wants a name in the leaf and a file to trust.
    ca, key = root("Shell Root"), make_key("ec-p256")
    leaf = issue_server(
        key.public_key(),
        dns_names=["localhost"],
        issuer=ca.certificate,
        issuer_key=ca.key,
        now=datetime.now(UTC),
        lifetime=LIFETIME,
    )
    (tmp_path / "leaf.pem").write_text(leaf.pem + save_key(key).decode())
    (tmp_path / "root.pem").write_text(ca.pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "leaf.pem")
    with serve(tls=context) as (shell, port):
        seen = run(sys.executable, str(HERE / "uamqp_client.py"), str(port), str(tmp_path / "root.pem"))
        assert shell.errors == []
        assert shell.gate.seen == ["MSSBCBS"] * 2
        assert [request["operation"] for request in shell.requests] == ["put-token"] * 2
    assert seen["sent"] == ["MessageState.SendComplete"] * 20
    assert seen["received"] == [[f"m{number}", 200_000 if number == 5 else number] for number in range(20)]
