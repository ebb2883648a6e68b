"""`moorage api-token`: what lets a program call the application's REST API (`/api`)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click

from moorage.accounts.roles import BUILT_IN
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.hub_client import segment
from moorage.cli.output import escape, escape_time, print_json, print_table

__all__ = ["api_token"]

_TOKENS = "/api/apiTokens"
_VERSION = {"api-version": "2022-07-31"}
_NAMES = {role.role_id: role.short for role in BUILT_IN.values()}


@click.group(cls=Group)
def api_token() -> None:
    """API tokens: what lets a program call the REST API (/api)."""


@api_token.command("list")
@pass_invocation
def list_tokens(invocation: Invocation) -> None:
    """List the tokens that there are; none of them is shown."""
    found = _all(invocation)
    if invocation.as_json:
        for each in found:
            print_json(each)
        return
    rows = [[escape(each["id"]), *_role(each), escape_time(each["expiry"])] for each in found]
    print_table(["name", "role", "organization", "ends"], rows)


@api_token.command("create")
@click.argument("name", metavar="NAME")
@click.option(
    "--role",
    default="operator",
    show_default=True,
    help=f"What it may do: {', '.join(_NAMES.values())}, or a role's id.",
)
@click.option("--organization", metavar="ID", help="Where it belongs; without it, to the whole application.")
@click.option("--days", type=click.IntRange(1, 1830), default=365, show_default=True, help="How long it is good.")
@pass_invocation
def create(invocation: Invocation, name: str, role: str, organization: str | None, days: int) -> None:
    """Make the token NAME, and print it: this is the only time that it is shown.

    It goes into the Authorization header as it is printed.
    """
    given = {"role": role} if organization is None else {"role": role, "organization": organization}
    expiry = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    document = invocation.hub().request(
        "PUT", f"{_TOKENS}/{segment(name)}", query=_VERSION, body={"roles": [given], "expiry": expiry}
    )
    invocation.report(document, escape(document["token"]))


@api_token.command("delete")
@click.argument("name", metavar="NAME")
@pass_invocation
def delete(invocation: Invocation, name: str) -> None:
    """Delete the token NAME: it opens nothing from now on."""
    path = f"{_TOKENS}/{segment(name)}"
    found = invocation.hub().request("GET", path, query=_VERSION)
    invocation.hub().request("DELETE", path, query=_VERSION)
    invocation.report(found, f"Deleted {escape(name)}.")


def _all(invocation: Invocation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query = {**_VERSION, "$top": "100"}
    while True:
        page = invocation.hub().request("GET", _TOKENS, query=query)
        found += page["value"]
        if "nextLink" not in page:
            return found
        query["$skiptoken"] = parse_qs(urlsplit(page["nextLink"]).query)["$skiptoken"][0]


def _role(token: dict[str, Any]) -> tuple[str, str]:
    given = token["roles"][0]
    return escape(_NAMES.get(given["role"], given["role"])), escape(given.get("organization", ""))
