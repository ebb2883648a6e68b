"""`moorage up`: run the hub in the foreground, and say where everything is once its ports are open."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from moorage.accounts.model import LINK_LIFETIME
from moorage.cli.commands import Command, Invocation, pass_invocation
from moorage.cli.output import escape, print_json, style
from moorage.config import SIGN_IN_LINK, is_loopback, load_config
from moorage.errors import Refusal
from moorage.settings import LEVELS, MAIL_SECURITIES, SETTINGS, Setting

if TYPE_CHECKING:
    from moorage.hub_info import HubInfo
    from moorage.ids import Secret

__all__ = ["banner", "up"]


def _flag(setting: Setting) -> Callable[[Any], Any]:
    # Values are checked in one place, whatever they came from: moorage.config.
    default = f"  [default: {_default(setting)}]" if setting.default is not None else ""
    return click.option(
        setting.flag,
        setting.name,
        multiple=setting.is_repeatable,
        metavar=_METAVARS.get(setting.kind, "N"),
        help=f"{setting.sentence}{default}",
    )


_METAVARS = {
    "names": "NAME",
    "networks": "NET|HOST",
    "brokers": "HOST[:PORT]",
    "events": "SOURCE",
    "file": "FILE",
    "directory": "DIR",
    "store": "URL",
    "address": "ADDR",
    "yes/no": "yes|no",
    "level": "|".join(LEVELS),
    "host": "HOST",
    "text": "TEXT",
    "mail security": "|".join(MAIL_SECURITIES),
    "issuer": "URL",
    "claims": "CLAIM:VALUE=ROLE",
}


def _default(setting: Setting) -> str:
    if isinstance(setting.default, bool):
        return "yes" if setting.default else "no"
    return f"{setting.default} {setting.unit}".strip()


def _flags(function: Callable[..., Any]) -> Callable[..., Any]:
    for setting in reversed(SETTINGS):
        if setting.name != "data":
            function = _flag(setting)(function)
    return function


@click.command(cls=Command)
@_flags
@pass_invocation
def up(invocation: Invocation, /, **flags: Any) -> int:
    """Run the hub in the foreground until SIGINT, SIGTERM or SIGHUP.

    Settings come from these flags, MOORAGE_... variables, and moorage.toml in the data folder, in this order. It
    listens on loopback until --hostname or --bind says otherwise.
    """
    config = load_config({**flags, "data": invocation.given_data}, os.environ)
    from moorage.process import run_hub

    def announce(info: HubInfo, link: Secret | None) -> None:
        where = _sign_in_place(info, link)
        if invocation.as_json:
            print_json({**_masked(info), "signIn": where or None})
        else:
            click.echo(banner(info, where))

    try:
        return run_hub(config, announce=announce)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Refusal(
            "os.error",
            f"the hub cannot keep what it needs in {config.data}: {error}",
            fix="see that the data folder's disk has room, and that the folder belongs to you",
        ) from error


def _sign_in_place(info: HubInfo, link: Secret | None) -> str:
    """The link for the first administrator, on a terminal; else the file that has it, which nobody else can read."""
    path = info.data / SIGN_IN_LINK
    if link is None:
        path.unlink(missing_ok=True)
        return ""
    url = f"{info.web_url}sign-in/link/{link.reveal()}"
    if sys.stdout.isatty():
        return url
    from moorage.adapters.files import write_whole

    write_whole(path, url.encode() + b"\n")
    return str(path)


def _masked(info: HubInfo) -> dict[str, Any]:
    """What the banner tells, for programs; keys come from `moorage env`."""
    return {
        "ready": True,
        "hostnames": list(info.hostnames),
        "bind": info.bind,
        "mqttPort": info.mqtt_port,
        "httpsPort": info.https_port,
        "amqpPort": info.amqp_port,
        "amqpPlainPort": info.amqp_plain_port,
        "webUrl": info.web_url,
        "idScope": info.id_scope,
        "caBundle": str(info.ca_bundle),
        "data": str(info.data),
        "pid": info.pid,
        "warnings": [*info.warnings, *_notes(info)],
    }


def _notes(info: HubInfo) -> list[str]:
    """What these names and ports cost (decisions W1)."""
    notes = []
    if "." not in info.hostname:
        notes.append(
            f"The C and Java SDKs want a host name with a dot, {escape(info.hostname)} has none: "
            "moorage up --hostname NAME.DOMAIN"
        )
    if info.mqtt_port != 8883:
        notes.append(f"Most SDKs cannot be told an MQTT port: they look for 8883, this is {info.mqtt_port}.")
    if info.amqp_port != 5671:
        notes.append(f"Most SDKs cannot be told an AMQP port: they look for 5671, this is {info.amqp_port}.")
    if info.https_port != 443 and not any("443" in warning for warning in info.warnings):
        notes.append(
            f"HTTPS is on {info.https_port}: Node's service SDK will not take IOTHUB_CONNECTION_STRING, "
            "which carries the port; Python's does."
        )
    return notes


def banner(info: HubInfo, sign_in: str = "") -> str:
    """Where everything is and what to paste for each SDK, without keys.

    `sign_in` is the link for the first administrator, or the file that has it; empty where somebody can sign in.
    """
    host, bundle = escape(info.hostname), escape(info.ca_bundle)
    where = "this machine only" if is_loopback(info.bind) else "the network"
    data = f" --data {escape(info.data)}"
    names = ", ".join(map(escape, info.hostnames))
    lines = [
        f"{style('moorage is ready', 'good')} on {names} ({escape(info.bind)}, {where})",
        "",
        f"  MQTT       {host}:{info.mqtt_port}",
        f"  AMQP       {host}:{info.amqp_port}",
        f"  HTTPS      https://{escape(info.service_host)}/",
        *([f"  pages      {escape(info.web_url)}"] if info.web_url else []),
        *([f"  sign in    {escape(sign_in)} (once, within {LINK_LIFETIME.seconds // 60} minutes)"] if sign_in else []),
        f"  telemetry  sb://{escape(info.events_host)}/{escape(info.name)} (Event Hubs clients)",
        f"  id scope   {escape(info.id_scope)}",
        f"  trust      {bundle}",
        f"  data       {escape(info.data)}",
        f"  keys       moorage env{data}",
        "",
        style("Devices", "bold"),
        f"  Python     server_verification_cert=open('{bundle}').read(), provisioning_host='{host}'",
        f"  Node       NODE_EXTRA_CA_CERTS={bundle}; client.setOptions({{ca}}); provisioning host '{host}'",
        f"  C          OPTION_TRUSTED_CERT = the text of {bundle}",
        f"  Java       ClientOptions.sslContext, made from {bundle}",
        f"  .NET       add {bundle} to the operating system's store",
        style("Services", "bold"),
        f"  Python     REQUESTS_CA_BUNDLE={bundle}",
        f"  Node       NODE_EXTRA_CA_CERTS={bundle}",
        f'  shell      eval "$(moorage env --format shell{data})"',
    ]
    notes = [*map(escape, info.warnings), *_notes(info)]
    if notes:
        lines += ["", *(f"  {style('note', 'bold')}  {note}" for note in notes)]
    return "\n".join(lines)
