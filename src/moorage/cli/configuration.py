"""`moorage configuration`: automatic configurations and edge deployments (contract/services.md 2.10)."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal

import click

from moorage.cli.arguments import check_condition, configuration_ids, device_ids, existing_device, json_object
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, moment, print_json, print_table
from moorage.cli.watching import watch_option, watched
from moorage.errors import Conflict, Invalid, NotFound, Refusal

__all__ = ["configuration"]

_FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)
_CONTENTS: Final = ("deviceContent", "moduleContent", "modulesContent")
_KINDS: Final = {"deviceContent": "devices", "moduleContent": "modules", "modulesContent": "edge"}
_MAX_FILE_BYTES: Final = 1024 * 1024
_ALL: Final = "*"

_Function = Callable[..., Any]

_id = click.argument("configuration_id", metavar="ID", shell_complete=configuration_ids)


@click.group(cls=Group)
def configuration() -> None:
    """Configure many devices by what they are, and deploy modules to edge devices."""


def _member_options(function: _Function) -> _Function:
    for option in (
        click.option(
            "--metric",
            "metrics",
            multiple=True,
            metavar="NAME=QUERY",
            help="Count the rows of this query. Can be repeated; NAME= takes one away.",
        ),
        click.option(
            "--label",
            "labels",
            multiple=True,
            metavar="NAME=TEXT",
            help="A note of your own. Can be repeated; NAME= takes one away.",
        ),
        click.option("--priority", type=click.IntRange(min=0), help="Where two set the same, the higher one wins."),
        click.option(
            "--condition",
            metavar="TEXT",
            help="Whom it targets: what stands behind WHERE in a query, * for all, nothing for nobody.",
        ),
    ):
        function = option(function)
    return function


@configuration.command("create")
@click.argument("configuration_id", metavar="ID")
@click.argument("file", type=_FILE)
@_member_options
@pass_invocation
def create_configuration(
    invocation: Invocation,
    /,
    configuration_id: str,
    file: Path,
    condition: str | None,
    priority: int | None,
    labels: tuple[str, ...],
    metrics: tuple[str, ...],
) -> None:
    """Make the configuration ID of the content in FILE, which never changes after.

    FILE holds a JSON object with deviceContent, moduleContent or modulesContent, or with such a content. Without
    --condition it targets nobody yet.
    """
    content = _content(file)
    _check_condition(condition, content)
    body = {
        "id": configuration_id,
        "content": content,
        "targetCondition": condition or "",
        "priority": priority or 0,
        "labels": _changed({}, labels, "--label"),
        "metrics": {"queries": _changed({}, metrics, "--metric")},
    }
    try:
        document = invocation.hub().request("PUT", _path(configuration_id), body=body)
    except Refusal as refusal:
        if refusal.reason != "configuration.exists":
            raise
        raise Conflict(
            refusal.reason,
            f"configuration '{configuration_id}' exists already, and its content never changes; the rest of it can",
            fix=f"moorage configuration update {shlex.quote(configuration_id)}",
        ) from refusal
    invocation.report(
        document,
        f"Created configuration {escape(configuration_id)} for {_kind(document)}, priority {document['priority']}.",
        f"Next: moorage configuration show {escape(configuration_id)} --watch 1"
        if condition
        else f"Next: moorage configuration update {escape(configuration_id)} --condition {shlex.quote(_ALL)}",
    )


@configuration.command("list")
@click.option("--top", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@pass_invocation
def list_configurations(invocation: Invocation, top: int) -> None:
    """List configurations, the winning ones first."""
    documents = invocation.hub().request("GET", "/configurations", query={"top": str(top)})
    if invocation.as_json:
        for document in documents:
            print_json(document)
        return
    documents.sort(key=lambda document: (document["priority"], document["createdTimeUtc"]), reverse=True)
    print_table(
        ["configuration", "for", "priority", "targeted", "applied", "condition", "created"],
        [
            [
                document["id"],
                _kind(document),
                document["priority"],
                document["systemMetrics"]["results"].get("targetedCount", ""),
                document["systemMetrics"]["results"].get("appliedCount", ""),
                document["targetCondition"],
                moment(document["createdTimeUtc"]),
            ]
            for document in documents
        ],
        dispensable=["created", "condition", "for"],
    )


@configuration.command("show")
@_id
@watch_option
@pass_invocation
def show_configuration(invocation: Invocation, configuration_id: str, watch: float | None) -> None:
    """Show the configuration ID and how far it has come."""
    hub = invocation.hub()

    def read() -> Callable[[], None]:
        document = hub.request("GET", _path(configuration_id))
        if watch is None or invocation.as_json:
            return lambda: invocation.show(document)
        return lambda: _print_metrics(document)

    watched(invocation, watch, read)


@configuration.command("update")
@_id
@_member_options
@pass_invocation
def update_configuration(
    invocation: Invocation,
    /,
    configuration_id: str,
    condition: str | None,
    priority: int | None,
    labels: tuple[str, ...],
    metrics: tuple[str, ...],
) -> None:
    """Change whom the configuration ID targets, its priority, labels and metrics; what is not given stays."""
    if condition is None and priority is None and not labels and not metrics:
        raise click.UsageError("give --condition, --priority, --label or --metric")
    hub = invocation.hub()
    document = hub.request("GET", _path(configuration_id))
    _check_condition(condition, document["content"])
    body = {
        "id": configuration_id,
        "content": document["content"],
        "targetCondition": document["targetCondition"] if condition is None else condition,
        "priority": document["priority"] if priority is None else priority,
        "labels": _changed(document["labels"], labels, "--label"),
        "metrics": {"queries": _changed(document["metrics"]["queries"], metrics, "--metric")},
    }
    changed = hub.request("PUT", _path(configuration_id), body=body, if_match=f'"{document["etag"]}"')
    invocation.report(
        changed,
        f"Updated configuration {escape(configuration_id)}: priority {changed['priority']}, "
        f"condition {escape(changed['targetCondition']) or 'none, so it targets nobody'}.",
    )


@configuration.command("delete")
@_id
@pass_invocation
def delete_configuration(invocation: Invocation, configuration_id: str) -> None:
    """Delete the configuration ID; what it set is taken out of twins, and the next lower one takes over."""
    invocation.hub().request("DELETE", _path(configuration_id), if_match="*")
    invocation.report({"id": configuration_id, "deleted": True}, f"Deleted configuration {escape(configuration_id)}.")


@configuration.command("metrics")
@_id
@pass_invocation
def show_metrics(invocation: Invocation, configuration_id: str) -> None:
    """Show the counts of the configuration ID."""
    document = invocation.hub().request("GET", _path(configuration_id))
    if invocation.as_json:
        print_json({"systemMetrics": document["systemMetrics"], "metrics": document["metrics"]})
        return
    _print_metrics(document)


@configuration.command("show-metric")
@_id
@click.argument("metric", metavar="METRIC")
@pass_invocation
def show_metric(invocation: Invocation, configuration_id: str, metric: str) -> None:
    """List who is counted in the METRIC of the configuration ID."""
    hub = invocation.hub()
    document = hub.request("GET", _path(configuration_id))
    queries = document["systemMetrics"]["queries"] | document["metrics"]["queries"]
    if metric not in queries:
        raise NotFound(
            "configuration.metric_unknown",
            f"configuration '{configuration_id}' has no metric '{metric}', it has {', '.join(sorted(queries))}",
        )
    rows = hub.query_all("/devices/query", queries[metric])
    if invocation.as_json:
        for row in rows:
            print_json(row)
        return
    listed = list(rows)
    columns = list(dict.fromkeys(name for row in listed for name in row))
    print_table(columns or ["deviceId"], [[row.get(name) for name in columns] for row in listed])


@configuration.command("apply")
@click.argument("device_id", metavar="DEVICE", shell_complete=device_ids)
@click.argument("file", type=_FILE)
@pass_invocation
@existing_device()
def apply_content(invocation: Invocation, device_id: str, file: Path) -> None:
    """Deploy the modules in FILE to one edge device, DEVICE; modules that are not listed there go."""
    from moorage.cli.hub_client import segment

    hub = invocation.hub()
    path = f"/devices/{segment(device_id)}"
    hub.request("POST", f"{path}/applyConfigurationContent", body=_content(file))
    modules = hub.request("GET", f"{path}/modules")
    names = ", ".join(escape(module["moduleId"]) for module in modules)
    if invocation.as_json:
        for module in modules:
            print_json(module)
        return
    click.echo(f"Edge device {escape(device_id)} has the modules {names}.")


def _path(configuration_id: str) -> str:
    from moorage.cli.hub_client import segment

    return f"/configurations/{segment(configuration_id)}"


def _content(file: Path) -> dict[str, Any]:
    """The content in `file`, whether it is the whole of it or a member. Raises `Invalid`."""
    if file.stat().st_size > _MAX_FILE_BYTES:
        raise Invalid("configuration.content", f"{file} has more than {_MAX_FILE_BYTES} bytes")
    document = json_object(file.read_text(encoding="utf-8", errors="replace"), str(file))
    content = document.get("content", document)
    if not isinstance(content, dict) or not any(member in content for member in _CONTENTS):
        raise Invalid("configuration.content", f"{file} has none of {', '.join(_CONTENTS)}")
    return content


def _check_condition(condition: str | None, content: dict[str, Any]) -> None:
    if condition is not None:
        whose: Literal["devices.modules", "devices"] = "devices.modules" if content.get("moduleContent") else "devices"
        check_condition(condition, "--condition", whose, reason="configuration.condition")


def _changed(present: dict[str, str], given: Iterable[str], option: str) -> dict[str, str]:
    """`present` with what `NAME=TEXT` says; without a text the name goes."""
    changed = dict(present)
    for each in given:
        name, equals, text = each.partition("=")
        if not name or not equals:
            raise click.UsageError(f"{option} takes NAME=TEXT, not {each!r}")
        if text:
            changed[name] = text
        else:
            changed.pop(name, None)
    return changed


def _kind(document: dict[str, Any]) -> str:
    return next((kind for member, kind in _KINDS.items() if document["content"].get(member) is not None), "")


def _print_metrics(document: dict[str, Any]) -> None:
    rows = []
    for whose in ("systemMetrics", "metrics"):
        results = document[whose]["results"]
        rows += [[name, results.get(name, "not yet"), query] for name, query in document[whose]["queries"].items()]
    print_table(["metric", "count", "query"], rows, dispensable=["query"])
