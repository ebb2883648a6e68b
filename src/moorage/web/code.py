"""What a button does, as code: the same act by curl, by Python, and by `az` where that knows it.

A page names the call of the public API (contract/central.md 22) that does what its button does; from that alone the
texts are made, so that they cannot say different things. They hold no secret: the token is the variable
`MOORAGE_TOKEN`, the hub's certificates are the variable `CA_BUNDLE`, which `moorage env` prints.

What a file holds is read where the code runs (`File`): curl takes it through `jq`.

`az` puts the host together from an application's name and a suffix, so there is a command only for a hub whose name has
a dot (central.md PC-24).
"""

from __future__ import annotations

import ipaddress
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

from moorage.hub_info import HubInfo

__all__ = ["API_VERSION", "Act", "Call", "Code", "File", "act_as_code", "as_code", "central_path"]

API_VERSION: Final = "2022-07-31"
_PLACE: Final = "\x00file"


@dataclass(frozen=True, slots=True)
class Code:
    """`language` is `sh` or `python`."""

    title: str
    language: Literal["sh", "python"]
    text: str


@dataclass(frozen=True, slots=True)
class Act:
    """What a button is called, and what it does."""

    label: str
    codes: Sequence[Code]


@dataclass(frozen=True, slots=True)
class File:
    """Stands in a body for the text of a file; one body has one at most."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the public API.

    Attributes:
        method: `PUT`, `PATCH`, `POST`, `DELETE` or `GET`.
        path: below `/api`, made by `central_path`.
        body: JSON, None for none; a `File` may stand in it for a text.
        az: words after `az iot central` that do the same, without those that say where; empty where it has none.
    """

    method: str
    path: str
    body: Any = None
    az: Sequence[str] = ()


def central_path(*segments: str) -> str:
    """`central_path("devices", "pump 1")` is `/devices/pump%201`."""
    return "".join("/" + quote(segment, safe="") for segment in segments)


def as_code(info: HubInfo, *calls: Call) -> list[Code]:
    """`calls`, one after the other, in each language."""
    base = (info.web_url or f"https://{info.service_host}/") + "api"
    codes = [
        Code("curl", "sh", "\n\n".join(_curl(base, call) for call in calls)),
        Code("Python", "python", _python(base, calls)),
    ]
    where = _where(info)
    if where and all(call.az for call in calls):
        codes.append(Code("az", "sh", "\n\n".join(_az(where, call) for call in calls)))
    return codes


def act_as_code(info: HubInfo, label: str, *calls: Call) -> Act:
    return Act(label, as_code(info, *calls))


def _curl(base: str, call: Call) -> str:
    lines = [
        f'curl --fail-with-body --cacert "$CA_BUNDLE" --request {call.method}',
        shlex.quote(f"{base}{call.path}?api-version={API_VERSION}"),
        '--header "Authorization: $MOORAGE_TOKEN"',
    ]
    if call.body is not None:
        lines += ["--header 'Content-Type: application/json'", f"--data {_shell_json(call.body)}"]
    return " \\\n  ".join(lines)


def _python(base: str, calls: Sequence[Call]) -> str:
    has_file = any(_file_in(call.body) for call in calls)
    lines = [
        "import json, os, ssl",
        *(["from pathlib import Path"] if has_file else []),
        "from urllib.request import Request, urlopen",
        "",
        'trust = ssl.create_default_context(cafile=os.environ["CA_BUNDLE"])',
        'headers = {"Authorization": os.environ["MOORAGE_TOKEN"], "Content-Type": "application/json"}',
    ]
    for call in calls:
        body = "None" if call.body is None else f"json.dumps({_literal(call.body)}).encode()"
        lines += [
            "",
            "request = Request(",
            f"    {_text(f'{base}{call.path}?api-version={API_VERSION}')},",
            f"    data={body},",
            "    headers=headers,",
            f"    method={_text(call.method)},",
            ")",
            "with urlopen(request, context=trust) as answer:",
            "    print(answer.status, answer.read().decode())",
        ]
    return "\n".join(lines)


def _az(where: Sequence[str], call: Call) -> str:
    command = shlex.join(["az", "iot", "central", *call.az, *where])
    return f'{command} --token "$MOORAGE_TOKEN"'


def _where(info: HubInfo) -> list[str]:
    host = info.hostname
    try:
        ipaddress.ip_address(host)
    except ValueError:
        name, dot, suffix = host.partition(".")
        port = "" if info.web_port in (443, None) else f":{info.web_port}"
        return ["--app-id", name, "--central-dns-suffix", suffix + port] if dot else []
    return []


def _shell_json(body: Any) -> str:
    file = _file_in(body)
    if file is None:
        return shlex.quote(json.dumps(body, ensure_ascii=False))
    # In jq JSON is a program too, and `.` the text that it was given.
    program = json.dumps(body, ensure_ascii=False, default=lambda _: _PLACE).replace(json.dumps(_PLACE), ".")
    return f'"$(jq --raw-input --slurp {shlex.quote(program)} {shlex.quote(file.name)})"'


def _file_in(value: Any) -> File | None:
    match value:
        case File():
            return value
        case dict():
            return next(filter(None, map(_file_in, value.values())), None)
        case list():
            return next(filter(None, map(_file_in, value)), None)
        case _:
            return None


def _text(value: str) -> str:
    """A Python string between double quotes. JSON's escapes are Python's too."""
    return json.dumps(value, ensure_ascii=True)


def _literal(value: Any) -> str:
    """JSON as the Python that makes it, on lines of their own where it is long."""
    match value:
        case dict():
            inner = ", ".join(f"{_text(str(name))}: {_literal(each)}" for name, each in value.items())
            return "{" + inner + "}"
        case list():
            return "[" + ", ".join(map(_literal, value)) + "]"
        case str():
            return _text(value)
        case File(name):
            return f"Path({_text(name)}).read_text()"
        case _:
            return repr(value)
