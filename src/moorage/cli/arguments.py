"""Arguments that many commands take, with completion of ids, and JSON that was given as text.

Completion asks the running hub, for a moment; without one it offers nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import click

from moorage.cli.commands import Invocation
from moorage.errors import Invalid, Refusal

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient

__all__ = [
    "ca_ids",
    "complete",
    "configuration_ids",
    "device_argument",
    "device_ids",
    "enrollment_ids",
    "group_ids",
    "identity_path",
    "job_ids",
    "json_object",
    "json_value",
    "module_ids",
    "module_option",
    "quoted",
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

device_argument = click.argument("device_id", metavar="ID", shell_complete=device_ids)


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
        return json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise Invalid("json.malformed", f"{where} is not JSON: {error}") from error
    except RecursionError:
        raise Invalid("json.malformed", f"{where} is nested deeper than anything that is taken") from None


def _no_number(text: str) -> Any:
    raise ValueError(f"there is no {text}")


def json_object(text: str, where: str) -> dict[str, Any]:
    """As `json_value`; raises `Invalid` (`json.not_object`) too."""
    value = json_value(text, where)
    if not isinstance(value, dict):
        raise Invalid("json.not_object", f"{where} has to be a JSON object, this is {text[:80]!r}")
    return value
