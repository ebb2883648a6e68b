"""Show as code: what a page's button does, by curl, Python and az."""

from __future__ import annotations

import ast
import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from moorage.hub_info import HubInfo
from moorage.ids import Secret
from moorage.web.code import Call, Code, Document, File, Upload, Variable, as_code, central_path

AWKWARD = {"name": 'o\'Brien "x" $HOME `id`', "on": False, "none": None, "list": [1, 2.5, "\u00e9\u2028"]}


NONE = {"MOORAGE_TOKEN": "", "CA_BUNDLE": ""}


def hub(hostname: str = "iot.example.com", web_port: int | None = 8080) -> HubInfo:
    return HubInfo(
        (hostname,), "127.0.0.1", 8883, 443, "0ne1", Path(), Path(), Secret(""), Secret(""), 1, web_port=web_port
    )


def titled(codes: list[Code]) -> dict[str, str]:
    return {code.title: code.text for code in codes}


def calls_in(python: str) -> list[Any]:
    """(url, body) of every Request, as Python reads it."""
    found = []
    for node in ast.walk(ast.parse(python)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Request":
            data = next(each.value for each in node.keywords if each.arg == "data")
            body = None
            if isinstance(data, ast.Call):
                assert isinstance(data.func, ast.Attribute) and isinstance(data.func.value, ast.Call)
                body = ast.literal_eval(data.func.value.args[0])
            found.append((ast.literal_eval(node.args[0]), body))
    return found


def test_every_language_says_the_same_whatever_stands_in_the_names() -> None:
    call = Call("PUT", central_path("devices", "a/b c'd"), AWKWARD, ("device", "create", "--device-id", "a/b c'd"))
    texts = titled(as_code(hub(), call))
    url = "https://iot.example.com:8080/api/devices/a%2Fb%20c%27d?api-version=2022-07-31"

    words = shlex.split(texts["curl"])
    assert words[words.index("--request") + 1] == "PUT" and url in words
    assert json.loads(words[words.index("--data") + 1]) == AWKWARD
    assert calls_in(texts["Python"]) == [(url, AWKWARD)]
    assert shlex.split(texts["az"])[:7] == ["az", "iot", "central", "device", "create", "--device-id", "a/b c'd"]


def test_a_call_without_a_body_sends_none() -> None:
    texts = titled(as_code(hub(), Call("DELETE", "/devices/x")))
    assert "--data" not in texts["curl"]
    assert calls_in(texts["Python"])[0][1] is None


@pytest.mark.parametrize(
    ("hostname", "where"),
    [
        ("iot.example.com", ["--app-id", "iot", "--central-dns-suffix", "example.com:8080"]),
        ("localhost", None),
        ("127.0.0.1", None),
        ("::1", None),
    ],
)
def test_az_is_offered_where_it_can_reach_the_hub(hostname: str, where: list[str] | None) -> None:
    az = titled(as_code(hub(hostname), Call("GET", "/devices", az=("device", "list")))).get("az")
    assert (where is None) == (az is None)
    assert where is None or where == shlex.split(str(az))[5:9]


def test_no_text_holds_a_token() -> None:
    for code in as_code(hub(), Call("GET", "/devices", az=("device", "list"))):
        assert "MOORAGE_TOKEN" in code.text


@pytest.mark.parametrize(
    ("call", "url"),
    [
        (Call("GET", "/dashboards", api="preview"), "api/dashboards?api-version=2022-10-31-preview"),
        (Call("GET", "/rules", api="own"), "moorage/v1/application/rules"),
        (Call("GET", "/audit", api="own", query={"who": "a&b c"}), "moorage/v1/application/audit?who=a%26b%20c"),
    ],
)
def test_a_call_goes_to_its_own_api(call: Call, url: str) -> None:
    texts = titled(as_code(hub(), call))
    assert f"https://iot.example.com:8080/{url}" in shlex.split(texts["curl"])
    assert calls_in(texts["Python"])[0][0] == f"https://iot.example.com:8080/{url}"


def run_shell(text: str, folder: Path, **variables: str) -> bytes:
    """What `text`, in which a program is `echo`, printed."""
    done = subprocess.run(
        ["bash", "-e", "-c", text], cwd=folder, env={"PATH": os.environ["PATH"], **variables}, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_secret_is_read_where_the_code_runs(tmp_path: Path) -> None:
    hostile = "a\"b\\(1) $HOME `id` '\n"
    body = {"url": Variable("URL"), "certificate": File("a file.txt"), **AWKWARD, "quoted": hostile}
    wanted = {"url": hostile, "certificate": hostile, **AWKWARD, "quoted": hostile}
    (tmp_path / "a file.txt").write_text(hostile)
    call = Call("PUT", "/rules/r", body, ("rule", "create", "--url", Variable("URL"), "--content", body), api="own")
    texts = titled(as_code(hub(), call))
    environment = {"URL": hostile, "MOORAGE_TOKEN": "t", "CA_BUNDLE": "c"}

    data = texts["curl"].partition("--data ")[2]
    assert json.loads(run_shell(f"printf %s {data}", tmp_path, **environment)) == wanted
    url, content = (f"printf %s {each}" for each in texts["az"].partition("--url ")[2].split(" --content "))
    assert run_shell(url, tmp_path, **environment).decode() == hostile
    assert json.loads(run_shell(content.rpartition(" --app-id")[0], tmp_path, **environment)) == wanted
    assert 'os.environ["URL"]' in texts["Python"] and 'Path("a file.txt").read_text()' in texts["Python"]
    ast.parse(texts["Python"])


def test_what_is_not_known_yet_stands_in_a_path(tmp_path: Path) -> None:
    texts = titled(as_code(hub(), Call("POST", central_path("operations", Variable("ID"), "stop"), api="own")))
    url = "https://iot.example.com:8080/moorage/v1/application/operations/0a1b/stop"
    assert url.encode() in run_shell(
        f"curl() {{ printf '%s\\n' \"$@\"; }}\n{texts['curl']}", tmp_path, ID="0a1b", **NONE
    )
    assert 'application/operations/" + os.environ["ID"] + "/stop"' in texts["Python"]
    ast.parse(texts["Python"])


def test_a_file_is_sent_as_it_is() -> None:
    texts = titled(as_code(hub(), Call("PUT", "/picture", Upload("my logo.png", "image/png"), api="own")))
    words = shlex.split(texts["curl"])
    assert words[words.index("--data-binary") + 1] == "@my logo.png" and "Content-Type: image/png" in words
    assert 'Path("my logo.png").read_bytes()' in texts["Python"] and '"Content-Type": "image/png"' in texts["Python"]
    ast.parse(texts["Python"])


def test_the_json_of_a_file_stands_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / "my model.json").write_text(json.dumps(AWKWARD))
    call = Call("PUT", "/t", {"name": "a", "capabilityModel": Document("my model.json")}, api="own")
    texts = titled(as_code(hub(), call))
    data = texts["curl"].partition("--data ")[2]
    assert json.loads(run_shell(f"printf %s {data}", tmp_path)) == {"name": "a", "capabilityModel": AWKWARD}
    assert 'json.loads(Path("my model.json").read_text())' in texts["Python"]
    ast.parse(texts["Python"])
