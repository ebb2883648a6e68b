"""Arguments that many commands take, with completion of ids, and JSON that was given as text.

Completion asks the running hub, for a moment; without one it offers nothing.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from moorage.cli.commands import Invocation
from moorage.cli.output import escape
from moorage.errors import Invalid, NotFound, Refusal

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient
    from moorage.query.problems import InvalidQuery
    from moorage.query.syntax import CollectionName

__all__ = [
    "ALLOCATIONS",
    "Spelled",
    "ca_ids",
    "check_condition",
    "complete",
    "configuration_ids",
    "device_argument",
    "device_ids",
    "enrollment_ids",
    "existing_device",
    "group_ids",
    "identity_path",
    "in_options",
    "job_ids",
    "json_object",
    "json_value",
    "module_ids",
    "module_option",
    "quoted",
    "show_place",
    "twin_path",
]

# As many as a shell shows without asking.
_MOST_OFFERED: Final = 100
_PATIENCE_S: Final = 2.0

_Find = Callable[["HubClient", click.Context, str], Iterable[str]]


def complete(find: _Find) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """What `find` offers, as click asks for it."""

    def offer(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            with context:
                found = find(context.ensure_object(Invocation).hub(), context, incomplete)
                return [name for name in found if name.startswith(incomplete)][:_MOST_OFFERED]
        except Refusal:
            # A shell that waits for a word has no room for a reason.
            return []

    return offer


def _query(hub: HubClient, path: str, text: str) -> Any:
    return hub.request("POST", path, body={"query": text}, patience_s=_PATIENCE_S)


def quoted(text: str) -> str:
    """As a string of the query language."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _devices(hub: HubClient, context: click.Context, incomplete: str) -> Iterable[str]:
    text = f"SELECT TOP {_MOST_OFFERED} deviceId FROM devices WHERE STARTS_WITH(deviceId, {quoted(incomplete)})"
    return [row["deviceId"] for row in _query(hub, "/devices/query", text)]


def _modules(hub: HubClient, context: click.Context, incomplete: str) -> Iterable[str]:
    from moorage.cli.hub_client import segment

    device_id = context.params.get("device_id")
    if not device_id:
        return []
    path = f"/devices/{segment(device_id)}/modules"
    return [each["moduleId"] for each in hub.request("GET", path, patience_s=_PATIENCE_S)]


def _of_query(path: str, member: str) -> _Find:
    return lambda hub, context, incomplete: [each[member] for each in _query(hub, path, "SELECT *")]


def _of_list(path: str, member: str) -> _Find:
    def find(hub: HubClient, context: click.Context, incomplete: str) -> Iterable[str]:
        return [each[member] for each in hub.request("GET", path, patience_s=_PATIENCE_S)]

    return find


def _cas(hub: HubClient, context: click.Context, incomplete: str) -> Iterable[str]:
    names: dict[str, None] = {}
    for registry in ("hub", "dps"):
        answer = hub.request("GET", f"/moorage/v1/{registry}/certificates", patience_s=_PATIENCE_S)
        names |= dict.fromkeys(each["name"] for each in answer["value"])
    return names


device_ids = complete(_devices)
module_ids = complete(_modules)
enrollment_ids = complete(_of_query("/enrollments/query", "registrationId"))
group_ids = complete(_of_query("/enrollmentGroups/query", "enrollmentGroupId"))
configuration_ids = complete(_of_list("/configurations", "id"))
job_ids = complete(_of_list("/jobs/v2/query", "jobId"))
ca_ids = complete(_cas)


@contextmanager
def existing_device() -> Iterator[None]:
    """Where a device has to be there already, the fix of `device.not_found` is to look for its right name."""
    try:
        yield
    except Refusal as refusal:
        if refusal.reason != "device.not_found":
            raise
        raise NotFound(refusal.reason, refusal.message, fix="moorage device list") from refusal


def device_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """The ID of a device that has to exist."""
    return click.argument("device_id", metavar="ID", shell_complete=device_ids)(existing_device()(function))


def module_option(about: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option("--module", metavar="M", help=about, shell_complete=module_ids)


def identity_path(device_id: str, module: str | None = None) -> str:
    return _path("devices", device_id, module)


def twin_path(device_id: str, module: str | None = None) -> str:
    return _path("twins", device_id, module)


def _path(collection: str, device_id: str, module: str | None) -> str:
    from moorage.cli.hub_client import segment

    path = f"/{collection}/{segment(device_id)}"
    return path if module is None else f"{path}/modules/{segment(module)}"


def json_value(text: str, where: str) -> Any:
    """What the option `where` says. Raises `Invalid` (`json.malformed`)."""
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except ValueError as error:
        raise Invalid("json.malformed", f"{where} is not JSON: {error}", fix=_how_to_quote(text, where)) from error
    except RecursionError:
        raise Invalid("json.malformed", f"{where} is nested deeper than anything that is taken") from None


def _how_to_quote(text: str, where: str) -> str:
    """For an option that a shell may have taken apart, or that was thought to read a file."""
    if not where.startswith("--"):
        return ""
    if text.startswith("@"):
        return f'no file is read here: {where} "$(cat {shlex.quote(text[1:])})"'
    return f"""give JSON in quotes, as {where} '{{"site": "a"}}'"""


def _no_number(text: str) -> Any:
    raise ValueError(f"there is no {text}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


def json_object(text: str, where: str) -> dict[str, Any]:
    """As `json_value`; raises `Invalid` (`json.not_object`) too."""
    value = json_value(text, where)
    if not isinstance(value, dict):
        raise Invalid("json.not_object", f"{where} has to be a JSON object, this is {text[:80]!r}")
    return value


def check_condition(text: str, option: str, collection: CollectionName = "devices", *, reason: str = "") -> None:
    """Look at a condition before the hub does: what is wrong is shown with its place below it.

    Raises `Invalid`: `query.*`, or the `reason` that the hub gives.
    """
    from moorage.query.parser import parse_condition
    from moorage.query.problems import InvalidQuery

    try:
        parse_condition(text, collection)
    except InvalidQuery as refusal:
        show_place(refusal)
        fix = refusal.fix
        if re.match(r"\s*(SELECT|WHERE)\b", text, re.IGNORECASE):
            fix = f"give only what stands behind WHERE, as {option} \"tags.site = 'a'\""
        raise Invalid(reason or refusal.reason, f"{option}, {refusal.message}", fix=fix) from refusal


def show_place(refusal: InvalidQuery) -> None:
    """The line of a query that is wrong, with a caret below the place."""
    for line in refusal.excerpt().split("\n"):
        click.echo(f"  {escape(line)}", err=True)


@contextmanager
def in_options(options: Mapping[str, str]) -> Iterator[None]:
    """A refusal that speaks of a member of the request speaks of the option that it came from, as `options` says."""
    try:
        yield
    except Refusal as refusal:
        message = refusal.message
        for member, option in options.items():
            message = re.sub(rf"\b{member}\b", option, message)
        raise Refusal(refusal.reason, message, fix=refusal.fix, checks=refusal.checks) from refusal


class Spelled(click.Choice[str]):
    """Words as people type them, each with what the service calls it; case and hyphens do not count.

    `also` are other spellings, each of one of the `words`.
    """

    def __init__(self, words: Mapping[str, str], also: Mapping[str, str] | None = None) -> None:
        super().__init__(list(words), case_sensitive=False)
        self._on_wire = dict(words)
        self._known = {_plain(word): word for word in words} | {
            _plain(other): word for other, word in (also or {}).items()
        }

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> str:
        return self._on_wire[super().convert(self._known.get(_plain(str(value)), value), parameter, context)]


def _plain(word: str) -> str:
    return word.replace("-", "").lower()


# Policies that a linked hub can be chosen by, and what they are called on the wire.
ALLOCATIONS: Final[Mapping[str, str]] = {"hashed": "hashed", "geo-latency": "geoLatency", "static": "static"}
