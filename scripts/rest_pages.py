"""The pages docs/reference/{rest,rights}.md, made from the routes of a hub as the composition root makes it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from moorage.api.openapi import TAGS, tag_of
from moorage.api.routing import Route
from moorage.app import App
from moorage.config import load_config
from moorage.identities.policy_rules import DEFAULT_POLICIES

__all__ = ["rest_page", "rights_page", "served_routes"]


def served_routes() -> tuple[Route, ...]:
    """Of a hub that is started for a moment, in a folder of its own, on ports that nobody is told."""

    async def start(folder: str) -> tuple[Route, ...]:
        app = App(
            load_config(
                {"data": folder, "mqtt_port": 0, "https_port": 0, "amqp_port": 0, "amqp_plain_port": 0, "web_port": 0},
                {},
            )
        )
        try:
            await app.start()
            return app.api.routes
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
        "Every operation that is served over HTTPS. `GET /moorage/v1/openapi.json` of a running hub has them with",
        "their parameters, bodies and answers; [rights](rights.md) has them by who may call them. Numbers in brackets",
        "are sections of [the contract](../contract/services.md).",
    ]
    for tag, about in TAGS.items():
        of_tag = [route for route in routes if tag_of(route) == tag]
        if of_tag:
            lines += [
                "",
                f"## {tag}",
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
    return "\n".join(lines) + "\n"


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
        case rights:
            return " or ".join(sorted(rights)) + (", or the device itself" if route.of_device else "")


def _name(route: Route) -> str:
    return f"{route.method} {route.pattern}"


def _order(route: Route) -> tuple[str, str]:
    return route.pattern.lower(), route.method


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
