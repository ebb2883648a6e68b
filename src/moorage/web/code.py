"""What a button does, as code: the same act by curl, by Python, and by `az` where that knows it.

A page names the call of the public API (contract/central.md 22) that does what its button does; from that alone the
texts are made, so that they cannot say different things. What IoT Central's API has not is a call of our own API, below
`/moorage/v1/application`. They hold no secret: the token is the variable `MOORAGE_TOKEN`, the hub's certificates are
the variable `CA_BUNDLE`, which `moorage env` prints.

What a file holds is read where the code runs (`File`, `Document`, `Upload`), and so is what is nobody's to see
(`Variable`): curl takes what stands inside of JSON through `jq`.

`az` puts the host together from an application's name and a suffix, so there is a command only for a hub whose name has
a dot (central.md PC-24).
"""

from __future__ import annotations

import ipaddress
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

from moorage.hub_info import HubInfo

__all__ = [
    "API_VERSION",
    "PREVIEW_VERSION",
    "Act",
    "Api",
    "Call",
    "Code",
    "Document",
    "File",
    "Upload",
    "Variable",
    "act_as_code",
    "as_code",
    "central_path",
]

API_VERSION: Final = "2022-07-31"
PREVIEW_VERSION: Final = "2022-10-31-preview"
# The public API's stable version, its preview, and our own API beside it, which has no versions in its query.
Api = Literal["stable", "preview", "own"]
_ROOTS: Final[Mapping[Api, tuple[str, Mapping[str, str]]]] = {
    "stable": ("api", {"api-version": API_VERSION}),
    "preview": ("api", {"api-version": PREVIEW_VERSION}),
    "own": ("moorage/v1/application", {}),
}
_JSON: Final = "application/json"
# Around the name of a variable in a path; no path that is quoted has one.
_MARK: Final = "\x00"


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
class Document:
    """Stands in a body for the JSON that a file holds; one body has one at most, and no `File` beside it."""

    name: str


@dataclass(frozen=True, slots=True)
class Variable:
    """Stands in a body or a path for a text that the environment holds: a secret, or what is not known yet."""

    name: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that is a file as it is."""

    name: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a REST API.

    Attributes:
        method: `PUT`, `PATCH`, `POST`, `DELETE` or `GET`.
        path: below the root of its API, made by `central_path`.
        body: JSON, None for none, or an `Upload`; a `File` or `Variable`s may stand in JSON for a text, a
            `Document` for any value.
        az: words after `az iot central` that do the same, without those that say where; empty where it has none. An
            object or array among them is written as JSON.
        api: which API it is.
        query: what its address asks for, without `api-version`.
    """

    method: str
    path: str
    body: Any = None
    az: Sequence[Any] = ()
    api: Api = "stable"
    query: Mapping[str, str] = field(default_factory=dict)


def central_path(*segments: str | Variable) -> str:
    """`central_path("devices", "pump 1")` is `/devices/pump%201`. What a `Variable` holds has to be part of a path."""
    return "".join(
        f"/{_MARK}{each.name}{_MARK}" if isinstance(each, Variable) else "/" + quote(each, safe="") for each in segments
    )


def as_code(info: HubInfo, *calls: Call) -> list[Code]:
    """`calls`, one after the other, in each language."""
    base = info.web_url or f"https://{info.service_host}/"
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


def _url(base: str, call: Call) -> str:
    root, version = _ROOTS[call.api]
    asked = urlencode({**call.query, **version}, quote_via=quote)
    return f"{base}{root}{call.path}" + (f"?{asked}" if asked else "")


def _curl(base: str, call: Call) -> str:
    lines = [
        f'curl --fail-with-body --cacert "$CA_BUNDLE" --request {call.method}',
        _shell_text(_url(base, call)),
        '--header "Authorization: $MOORAGE_TOKEN"',
    ]
    match call.body:
        case None:
            pass
        case Upload(name, media_type):
            lines += [f"--header 'Content-Type: {media_type}'", f"--data-binary {shlex.quote('@' + name)}"]
        case _:
            lines += [f"--header 'Content-Type: {_JSON}'", f"--data {_shell_json(call.body)}"]
    return " \\\n  ".join(lines)


def _python(base: str, calls: Sequence[Call]) -> str:
    has_file = any(isinstance(each, File | Document | Upload) for call in calls for each in _placed(call.body))
    lines = [
        "import json, os, ssl",
        *(["from pathlib import Path"] if has_file else []),
        "from urllib.request import Request, urlopen",
        "",
        'trust = ssl.create_default_context(cafile=os.environ["CA_BUNDLE"])',
        f'headers = {{"Authorization": os.environ["MOORAGE_TOKEN"], "Content-Type": "{_JSON}"}}',
    ]
    for call in calls:
        headers = "headers"
        match call.body:
            case None:
                body = "None"
            case Upload(name, media_type):
                body = f"Path({_text(name)}).read_bytes()"
                headers = f'headers | {{"Content-Type": {_text(media_type)}}}'
            case _:
                body = f"json.dumps({_literal(call.body)}).encode()"
        lines += [
            "",
            "request = Request(",
            f"    {_python_text(_url(base, call))},",
            f"    data={body},",
            f"    headers={headers},",
            f"    method={_text(call.method)},",
            ")",
            "with urlopen(request, context=trust) as answer:",
            "    print(answer.status, answer.read().decode())",
        ]
    return "\n".join(lines)


def _shell_text(marked: str) -> str:
    parts = marked.split(_MARK)
    return "".join(f'"${part}"' if number % 2 else shlex.quote(part) for number, part in enumerate(parts))


def _python_text(marked: str) -> str:
    parts = marked.split(_MARK)
    return " + ".join(f"os.environ[{_text(part)}]" if number % 2 else _text(part) for number, part in enumerate(parts))


def _az(where: Sequence[str], call: Call) -> str:
    words = [_az_word(each) for each in call.az]
    return " ".join(["az iot central", *words, shlex.join(where), '--token "$MOORAGE_TOKEN"'])


def _az_word(word: Any) -> str:
    match word:
        case Variable(name):
            return f'"${name}"'
        case str():
            return shlex.quote(word)
        case _:
            return _shell_json(word)


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
    """JSON as one word of a shell. Where something stands in it that is read there, jq makes it."""
    placed = list(_placed(body))
    if not placed:
        return shlex.quote(json.dumps(body, ensure_ascii=False))
    # In jq JSON is a program too; `.` is what it was given to read, and `$ENV` the environment.
    program = shlex.quote(_jq(body))
    match next((each for each in placed if isinstance(each, File | Document)), None):
        case File(name):
            return f'"$(jq --raw-input --slurp {program} {shlex.quote(name)})"'
        case Document(name):
            return f'"$(jq {program} {shlex.quote(name)})"'
        case _:
            return f'"$(jq --null-input {program})"'


def _jq(value: Any) -> str:
    match value:
        case File() | Document():
            return "."
        case Variable(name):
            return f"$ENV.{name}"
        case dict():
            return "{" + ", ".join(f"{_json(name)}: {_jq(each)}" for name, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_jq, value)) + "]"
        case _:
            return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _placed(value: Any) -> Iterator[File | Document | Upload | Variable]:
    """What stands in a body and is read where the code runs."""
    match value:
        case File() | Document() | Upload() | Variable():
            yield value
        case dict():
            for each in value.values():
                yield from _placed(each)
        case list():
            for each in value:
                yield from _placed(each)


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
        case Document(name):
            return f"json.loads(Path({_text(name)}).read_text())"
        case Variable(name):
            return f"os.environ[{_text(name)}]"
        case _:
            return repr(value)
