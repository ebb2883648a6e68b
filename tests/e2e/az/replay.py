"""Recorded commands of `az iot`, played against a hub: the requests that one command makes, and what it needs back.

A command is a JSON file: {"command": the line as typed, "needs"?, "calls": [...]}. A call is

    {"method", "path", "query"?, "headers"?, "body"?, "status", "answer"?, "answerHeaders"?, "until"?, "keep"?,
     "keepHeaders"?, "as"?}

A text may hold ${NAME}, a value that an earlier call kept; alone it stands for the whole JSON value. {"${...}": NAME,
...members} is the kept object NAME with these members. "keep" takes values out of the answer by their path
("authentication.symmetricKey"; "" is all of it), "keepHeaders" a header without its quotes. "as" is a device for which
the command speaks, by a token of the policy. Instead of "path" there may be a "url", which is called as it is, without
a token, and with "content" as its body.

"answer" is a pattern: an object has at least these members, a list has exactly these items, "<absent>" is no member,
"<any>" is anything but null, "<text>" any text that is not empty, "<number>" any number; {"<has>": [...]} is a list
with at least one match for each of these patterns. A call with "until" is repeated until its answer matches that too.

"needs" is {"connected": [device, ...]}, devices that answer methods while the command runs, {"provisioned":
[registration id, ...]}, devices that register before it, or {"sent": [device, ...]}, a message for each before it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import uuid4

import httpx

from tests.hubs import Hub

__all__ = ["COMMANDS", "Command", "Player", "commands", "differences"]

COMMANDS = Path(__file__).parent / "commands"

_HUB_API, _DPS_API, _DEVICE_API = "2024-03-31", "2021-10-01", "2019-10-01"
_DPS_PATHS = ("/enrollments", "/enrollmentGroups", "/registrations")
_PLACEHOLDER = re.compile(r"\$\{([A-Za-z0-9.-]+)\}")
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Command:
    """One file of `commands`."""

    # "iot hub device-identity", "create"
    group: str
    name: str
    file: Path
    line: str
    needs: Mapping[str, list[str]]
    calls: list[dict[str, Any]]


def commands(folder: Path = COMMANDS) -> Iterator[Command]:
    """All in a folder, in the order of their file names, in which they follow each other."""
    for file in sorted(folder.glob("*.json")):
        document = json.loads(file.read_text())
        words = document["command"].split(" -", 1)[0].split()
        assert words[0] == "az", f"{file.name} is no command of az"
        yield Command(
            " ".join(words[1:-1]), words[-1], file, document["command"], document.get("needs", {}), document["calls"]
        )


class Player:
    """Plays calls, and knows what they kept."""

    def __init__(self, hub: Hub, known: Mapping[str, Any]) -> None:
        self._known: dict[str, Any] = dict(known)
        self._address = f"https://{hub.info.bind}:{hub.info.https_port}"
        self._strings = {False: hub.connection_string, True: hub.dps_connection_string}
        trust = ssl.create_default_context(cafile=str(hub.ca_bundle))
        self._http = httpx.Client(verify=trust, trust_env=False, timeout=60)

    def close(self) -> None:
        self._http.close()

    def play_all(self, calls: Iterable[Mapping[str, Any]]) -> list[str]:
        """As `play`, one after the other up to the first that differs, with what it was."""
        for number, call in enumerate(calls, 1):
            try:
                found = self.play(call)
            except AssertionError as missing:
                found = [str(missing)]
            if found:
                return [f"call {number}, {call['method']} {call['path']}: {each}" for each in found]
        return []

    def play(self, call: Mapping[str, Any]) -> list[str]:
        """Make the call; how its answer differs from what the command needs."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            response, document = self._send(call)
            if response.status_code != call["status"]:
                return [f"status {response.status_code}, not {call['status']}: {response.text[:600]}"]
            if not list(differences(self._filled(call.get("until", "<ignored>")), document)):
                break
            if time.monotonic() > deadline:
                return [f"not within {_PATIENCE_S:g} s: {call['until']}, but {document}"]
            time.sleep(0.1)
        found = list(differences(self._filled(call.get("answer", "<ignored>")), document))
        for name, wanted in call.get("answerHeaders", {}).items():
            found += differences(wanted, response.headers.get(name, "<absent>"), f"header {name}")
        if not found:
            for name, path in call.get("keep", {}).items():
                self._known[name] = _at(document, path)
            for name, header in call.get("keepHeaders", {}).items():
                self._known[name] = response.headers[header].strip('"')
        return found

    def _send(self, call: Mapping[str, Any]) -> tuple[httpx.Response, Any]:
        if "url" in call:
            url, headers = self._filled(call["url"]), self._filled(call["headers"])
            response = self._http.request(call["method"], url, headers=headers, content=call["content"])
            return response, response.text
        is_dps = call["path"].startswith(_DPS_PATHS)
        host, token = self._signed(is_dps, call.get("as", ""))
        # As the command line sends them: a content type with every request, whether it has a body or not.
        headers = {
            "Host": host,
            "Authorization": token,
            "Content-Type": "application/json; charset=utf-8",
            "x-ms-client-request-id": str(uuid4()),
            "accept-language": "en-US",
            **self._filled(call.get("headers", {})),
        }
        path = _PLACEHOLDER.sub(lambda found: quote(str(self._value(found[1])), safe=""), call["path"])
        content = json.dumps(self._filled(call["body"])) if "body" in call else None
        version = _DPS_API if is_dps else _DEVICE_API if "as" in call else _HUB_API
        response = self._http.request(
            call["method"],
            self._address + path,
            params={"api-version": version, **self._filled(call.get("query", {}))},
            headers=headers,
            content=content,
        )
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response, response.json() if is_json and response.content else response.text

    def _signed(self, is_dps: bool, device: str) -> tuple[str, str]:
        """The host as in the connection string, and a token for it, which is signed over its escaped form (A-2)."""
        parts = dict(part.split("=", 1) for part in self._strings[is_dps].split(";"))
        host, policy = parts["HostName"], parts["SharedAccessKeyName"]
        escaped, expiry = quote_plus(f"{host}/devices/{device}" if device else host), str(int(time.time()) + 3600)
        key = base64.b64decode(parts["SharedAccessKey"])
        signature = base64.b64encode(hmac.digest(key, f"{escaped}\n{expiry}".encode(), hashlib.sha256))
        return host, f"SharedAccessSignature sr={escaped}&sig={quote_plus(signature)}&se={expiry}&skn={policy}"

    def _filled(self, template: Any) -> Any:
        if isinstance(template, str):
            if alone := _PLACEHOLDER.fullmatch(template):
                return self._value(alone[1])
            return _PLACEHOLDER.sub(lambda found: str(self._value(found[1])), template)
        if isinstance(template, list):
            return [self._filled(each) for each in template]
        if isinstance(template, dict):
            members = {name: self._filled(value) for name, value in template.items() if name != "${...}"}
            return {**self._value(template["${...}"]), **members} if "${...}" in template else members
        return template

    def _value(self, name: str) -> Any:
        assert name in self._known, f"nothing kept ${{{name}}}"
        return self._known[name]


def _at(document: Any, path: str) -> Any:
    for member in filter(None, path.split(".")):
        document = document[member]
    return document


def differences(pattern: Any, actual: Any, where: str = "answer") -> Iterator[str]:
    """Where `actual` is not as `pattern` says; nothing when it is."""
    if isinstance(pattern, dict) and "<has>" in pattern:
        items = actual if isinstance(actual, list) else []
        for each in pattern["<has>"]:
            if not any(not list(differences(each, item)) for item in items):
                yield f"{where} has no item like {each}, but {actual}"
    elif isinstance(pattern, dict) and isinstance(actual, dict):
        for name, value in pattern.items():
            yield from differences(value, actual.get(name, "<absent>"), f"{where}.{name}")
    elif isinstance(pattern, list) and isinstance(actual, list) and len(pattern) == len(actual):
        for number, (each, item) in enumerate(zip(pattern, actual, strict=True)):
            yield from differences(each, item, f"{where}[{number}]")
    elif not _is_as(pattern, actual):
        yield f"{where} is {actual!r}, not {pattern!r}"


def _is_as(pattern: Any, actual: Any) -> bool:
    if pattern == "<ignored>":
        return True
    if actual == "<absent>":
        return bool(pattern == "<absent>")
    match pattern:
        case "<any>":
            return actual is not None
        case "<text>":
            return isinstance(actual, str) and actual != ""
        case "<number>":
            return isinstance(actual, int | float) and not isinstance(actual, bool)
    return type(pattern) is type(actual) and bool(pattern == actual)
