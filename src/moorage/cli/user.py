"""`moorage user`: people who may sign in to the application."""

from __future__ import annotations

from typing import Any

import click

from moorage.accounts.model import INVITATION_LIFETIME, LINK_LIFETIME
from moorage.accounts.roles import BUILT_IN
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, escape_time, print_json, print_table
from moorage.config import CA_BUNDLE
from moorage.errors import NotFound

__all__ = ["user"]

_USERS = "/moorage/v1/users"
_ROLES = ", ".join(role.short for role in BUILT_IN.values())


@click.group(cls=Group)
def user() -> None:
    """Invite and manage people who use the application."""


@user.command("list")
@pass_invocation
def list_users(invocation: Invocation) -> None:
    """List who may sign in."""
    found = _all(invocation)
    if invocation.as_json:
        for each in found:
            print_json(each)
        return
    rows = [[escape(each["login"]), each["role"], _state(each), escape_time(each["signedIn"] or "")] for each in found]
    print_table(["name", "role", "state", "signed in"], rows)


@user.command("invite")
@click.argument("login", metavar="NAME")
@click.option("--role", default="operator", show_default=True, help=f"What they may do: {_ROLES}, or a role's id.")
@click.option("--organization", metavar="ID", help="Where they belong; without it, to the whole application.")
@pass_invocation
def invite(invocation: Invocation, login: str, role: str, organization: str | None) -> None:
    """Make a user, and print the link by which they choose a password."""
    document = invocation.hub().request(
        "POST", _USERS, body={"login": login, "role": role, "organization": organization or ""}
    )
    _show_link(invocation, document, f"{escape(login)} opens this link", f"within {INVITATION_LIFETIME.days} days")


@user.command("link")
@click.argument("login", metavar="[NAME]", required=False)
@pass_invocation
def link(invocation: Invocation, login: str | None) -> None:
    """Print a link by which the user NAME chooses a new password; without NAME, one that makes an administrator.

    It works once, within a quarter of an hour.
    """
    body = {} if login is None else {"login": login}
    document = invocation.hub().request("POST", "/moorage/v1/sign-in-links", body=body)
    who = "Open this link" if login is None else f"{escape(login)} opens this link"
    _show_link(invocation, document, who, f"within {LINK_LIFETIME.seconds // 60} minutes")


@user.command("role")
@click.argument("login", metavar="NAME")
@click.argument("role", metavar="ROLE")
@pass_invocation
def change_role(invocation: Invocation, login: str, role: str) -> None:
    """Give the user NAME another role."""
    _change(invocation, login, {"role": role}, f"{escape(login)} is {role} now.")


@user.command("disable")
@click.argument("login", metavar="NAME")
@pass_invocation
def disable(invocation: Invocation, login: str) -> None:
    """Shut the user NAME out, at once."""
    _change(invocation, login, {"disabled": True}, f"{escape(login)} is shut out.")


@user.command("enable")
@click.argument("login", metavar="NAME")
@pass_invocation
def enable(invocation: Invocation, login: str) -> None:
    """Let the user NAME in again."""
    _change(invocation, login, {"disabled": False}, f"{escape(login)} may sign in.")


@user.command("delete")
@click.argument("login", metavar="NAME")
@pass_invocation
def delete(invocation: Invocation, login: str) -> None:
    """Delete the user NAME."""
    found = _find(invocation, login)
    invocation.hub().request("DELETE", f"{_USERS}/{found['userId']}")
    invocation.report(found, f"Deleted {escape(login)}.")


def _show_link(invocation: Invocation, document: dict[str, Any], who: str, when: str) -> None:
    """The link alone goes to standard output, where a script takes it; what a person has to know goes beside it."""
    if not invocation.as_json:
        click.echo(f"{who} in a browser, to choose a password; it works once, {when}:", err=True)
    invocation.report(document, escape(document["link"]))
    if not invocation.as_json:
        bundle = escape(invocation.data / CA_BUNDLE)
        click.echo(f"A browser warns of the certificate, as it should, until it trusts {bundle}.", err=True)


def _all(invocation: Invocation) -> list[dict[str, Any]]:
    users: list[dict[str, Any]] = invocation.hub().request("GET", _USERS)["users"]
    return users


def _find(invocation: Invocation, login: str) -> dict[str, Any]:
    """Raises `NotFound` (`account.unknown`)."""
    wanted = login.strip().casefold()
    for each in _all(invocation):
        if each["login"] == wanted:
            return each
    raise NotFound("account.unknown", f"there is no user {login!r}", fix="moorage user list")


def _change(invocation: Invocation, login: str, changes: dict[str, Any], told: str) -> None:
    found = _find(invocation, login)
    invocation.report(invocation.hub().request("PATCH", f"{_USERS}/{found['userId']}", body=changes), told)


def _state(user: dict[str, Any]) -> str:
    if user["disabled"]:
        return "disabled"
    return "active" if user["hasPassword"] else "invited"
