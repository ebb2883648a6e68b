"""Show as code: what a page's button does, by curl, Python and az."""

from __future__ import annotations

import ast
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from moorage.hub_info import HubInfo
from moorage.ids import Secret
from moorage.web.code import Call, Code, as_code, central_path

AWKWARD = {"name": 'o\'Brien "x" $HOME `id`', "on": False, "none": None, "list": [1, 2.5, "\u00e9\u2028"]}


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
