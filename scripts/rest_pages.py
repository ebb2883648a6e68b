"""The pages docs/reference/{rest,rest-application,rights}.md, made from the routes of a hub as the composition root
makes it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from moorage.api.openapi import TAGS, tag_of
from moorage.api.routing import Route
from moorage.app import App
from moorage.config import load_config
from moorage.identities.policy_rules import DEFAULT_POLICIES

__all__ = ["ServedRoutes", "application_page", "rest_page", "rights_page", "served_routes"]


class ServedRoutes(NamedTuple):
    """`own` and `central` are the two APIs of the application, without the routes of their documents."""

    hub: tuple[Route, ...]
    own: tuple[Route, ...]
    central: tuple[Route, ...]


def served_routes() -> ServedRoutes:
    """Of a hub that is started for a moment, in a folder of its own, on ports that nobody is told."""

    async def start(folder: str) -> ServedRoutes:
        app = App(
            load_config(
                {"data": folder, "mqtt_port": 0, "https_port": 0, "amqp_port": 0, "amqp_plain_port": 0, "web_port": 0},
                {},
            )
        )
        try:
            await app.start()
            own, central = (
                tuple(route for route in api.routes if route.gate != "public")
                for api in (app.application.own, app.application.central)
            )
            return ServedRoutes(app.api.routes, own, central)
        finally:
            await app.stop()

    with tempfile.TemporaryDirectory(prefix="moorage-reference-") as folder:
        return asyncio.run(start(str(Path(folder) / "hub")))


def rest_page(routes: Sequence[Route], note: str) -> str:
    """One line an operation."""
    lines = [
        "# REST",
        "",
        note,
        "",
        "Every operation of the hub and of provisioning that is served over HTTPS; those of the application are on",
        "[a page of their own](rest-application.md). `GET /moorage/v1/openapi.json` of a running hub has them with",
        "their parameters, bodies and answers; [rights](rights.md) has them by who may call them. Numbers in brackets",
        "are sections of [the contract](../contract/services.md).",
    ]
    return "\n".join([*lines, *_tables(routes, "##")]) + "\n"


def application_page(served: ServedRoutes, note: str) -> str:
    """One line an operation, of both APIs of the application."""
    lines = [
        "# REST of the application",
        "",
        note,
        "",
        "What the application's pages do, a program can do, with an API token of the application",
        "([how](../how-to/use-the-central-api.md)). Each operation takes the permission that is named; the hub's owner",
        "(`moorage token`) may call all of them. Numbers in brackets are sections of",
        "[the contract](../contract/central.md).",
        "",
        "## Our own, below /moorage/v1/application",
        "",
        "What IoT Central's REST API has no place for. There is no version to be named; refusals have the statuses of",
        "plain HTTP, and say their reason and what to do about it. `GET /moorage/v1/application/openapi.json` has all",
        "parameters, bodies and answers.",
        *_tables(served.own, "###"),
        "",
        "## IoT Central's, below /api",
        "",
        "As [compatibility](../compatibility.md) has it; every call names its `api-version`. `GET /api/openapi.json`",
        "has all of it.",
        *_tables(served.central, "###"),
    ]
    return "\n".join(lines) + "\n"


def _tables(routes: Sequence[Route], heading: str) -> list[str]:
    lines: list[str] = []
    for tag, about in TAGS.items():
        of_tag = [route for route in routes if tag_of(route) == tag]
        if of_tag:
            lines += [
                "",
                f"{heading} {tag}",
                "",
                about,
                "",
                "| Operation | What it does | For | Answers |",
                "|---|---|---|---|",
            ]
            lines += [
                f"| `{_name(route)}` | {_cell(route.summary)} | {_who(route)} | {', '.join(map(str, route.answers))} |"
                for route in sorted(of_tag, key=_order)
            ]
    return lines


def rights_page(routes: Sequence[Route], note: str) -> str:
    """What each right opens."""
    lines = [
        "# Rights",
        "",
        note,
        "",
        "Who may call which operation; a test sends every operation every kind of credential and compares",
        "(`tests/api/test_rights.py`). The hub's owner (`moorage token`) may call all of them, except those that are a",
        "device's own. A stranger is answered 401, whatever there is; a good token that lacks the right as well.",
        "",
        "| Policy that is there from the start | Its rights |",
        "|---|---|",
    ]
    lines += [
        f"| `{name}` of the {'hub' if scope == 'hub' else 'provisioning service'} | {', '.join(sorted(rights))} |"
        for scope, policies in DEFAULT_POLICIES.items()
        for name, rights in policies.items()
    ]
    for who in sorted({_who(route) for route in routes}):
        lines += ["", f"## {who}", ""]
        lines += _operations(route for route in routes if _who(route) == who)
    return "\n".join(lines) + "\n"


def _operations(routes: Iterable[Route]) -> list[str]:
    return [f"- `{_name(route)}`" for route in sorted(routes, key=_order)]


def _who(route: Route) -> str:
    match route.gate:
        case "public":
            return "Anybody"
        case "device":
            return "The device itself"
        case "local":
            return "Anybody on this machine"
        case "owner":
            return "The owner"
        case str() as permission:
            return permission
        case rights:
            return " or ".join(sorted(rights)) + (", or the device itself" if route.of_device else "")


def _name(route: Route) -> str:
    return f"{route.method} {route.pattern}"


def _order(route: Route) -> tuple[str, str]:
    return route.pattern.lower(), route.method


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
