"""The root command: finds the module of a command by a table, and turns every outcome into an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click
from click.exceptions import NoSuchCommand

from moorage.cli.commands import Command, Invocation
from moorage.cli.output import print_refusal
from moorage.errors import Refusal

__all__ = ["COMMANDS", "EXIT_CODES", "root", "run"]

# Name, where it is, and its line in `moorage --help`, which so needs no import of it.
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("moorage.cli.up:up", "Run the hub in the foreground."),
    "wait": ("moorage.cli.environment:wait", "Wait until the hub on the data folder is ready."),
    "env": ("moorage.cli.environment:env", "Print what programs need to reach the hub, keys included."),
    "token": ("moorage.cli.token:token", "Print a bearer token of the hub's owner, or a SAS token."),
    "policy": ("moorage.cli.policy:policy", "Shared access policies: who may do what with a key."),
    "cert": ("moorage.cli.cert:cert", "Make and inspect certificates."),
    "ca": ("moorage.cli.ca:ca", "Register CA certificates and prove that you hold their keys."),
    "device": ("moorage.cli.device:device", "Create, list, show, change and delete devices."),
    "module": ("moorage.cli.module:module", "Create, list, show, change and delete modules."),
    "enrollment": ("moorage.cli.enrollment:enrollment", "Enroll one device for provisioning."),
    "enrollment-group": ("moorage.cli.enrollment:enrollment_group", "Enroll many devices for provisioning."),
    "registration": ("moorage.cli.registration:registration", "See where devices were provisioned, and forget it."),
    "linked-hub": ("moorage.cli.linked_hub:linked_hub", "Hubs that provisioned devices are assigned to."),
    "twin": ("moorage.cli.twin:twin", "Show, update and replace device twins."),
    "method": ("moorage.cli.method:method", "Call direct methods."),
    "job": ("moorage.cli.job:job", "Update twins or call methods of many devices at once."),
    "configuration": (
        "moorage.cli.configuration:configuration",
        "Configure many devices by what they are, and deploy modules to edge devices.",
    ),
    "c2d": ("moorage.cli.c2d:c2d", "Send cloud-to-device messages, and drop those that wait."),
    "file": ("moorage.cli.file:file", "List and fetch the files that devices have uploaded."),
    "route": ("moorage.cli.route:route", "Send messages on to web hooks, files and brokers."),
    "endpoint": ("moorage.cli.endpoint:endpoint", "Where message routes lead: web hooks, files and brokers."),
    "telemetry": ("moorage.cli.telemetry:telemetry", "Read what devices sent."),
    "apply": ("moorage.cli.apply:apply", "Make the hub hold what files declare."),
    "export": ("moorage.cli.apply:export", "Write what the hub holds to a file for `apply`."),
    "move-in": (
        "moorage.cli.move_in.command:move_in",
        "Carry an IoT Central application, or another hub's, over into this hub.",
    ),
    "doctor": ("moorage.cli.doctor:doctor", "Find out what would be refused, and why."),
    "monitor": ("moorage.cli.monitor:monitor", "Show who is connected."),
    "query": ("moorage.cli.query:query", "Ask for twins, modules or device jobs."),
    "user": ("moorage.cli.user:user", "Invite and manage people who use the application."),
    "api-token": ("moorage.cli.api_token:api_token", "API tokens: what lets a program call the REST API (/api)."),
    "explain": ("moorage.cli.explain:explain", "Say why a device was or was not let in."),
    "completion": ("moorage.cli.environment:completion", "Print completion for a shell."),
}

EXIT_CODES: dict[int, str] = {
    0: "Done.",
    1: "Refused or failed; standard error has `reason: message` and, where there is one, the fix.",
    2: "The command line or a setting is wrong.",
    3: "No hub can be reached on this data folder.",
    4: "Not within the time given.",
    5: "`apply --check` found something that is not as declared.",
    130: "Interrupted.",
}

_CODE_OF_REASON = {
    "hub.never_ran": 3,
    "hub.unreachable": 3,
    "hub.timeout": 4,
    "wait.timeout": 4,
}


class _Root(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[name][0]} is no command")
        return command

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, arguments)
        except NoSuchCommand as error:
            # Click looks for what was meant among commands that are loaded.
            raise NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=context) from error

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=_Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="moorage", prog_name="moorage")
def root() -> None:
    """A self-hosted IoT hub, X.509 first: unmodified Azure IoT SDKs provision and connect to it.

    Start with `moorage up`; it says what to paste where. Every command takes --json and --data DIR.
    """


root.command_class = Command


def run(arguments: Sequence[str] | None) -> int:
    """Run the command that `arguments` (default: the process's) name; returns its exit code."""
    _mend_streams()
    invocation = Invocation()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = root.main(given, prog_name="moorage", standalone_mode=False, obj=invocation)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _wrong_usage(error, "--json" in given)
    except Refusal as refusal:
        print_refusal(refusal, invocation.as_json)
        return 2 if refusal.reason.startswith("config.") else _CODE_OF_REASON.get(refusal.reason, 1)
    except BrokenPipeError:
        # Whoever read the output has gone. What is still buffered has nowhere to go; without this the interpreter
        # would complain at exit. The code is the one Click gives when a write fails earlier.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UnicodeDecodeError as error:
        told = f"a file that has to hold text is not UTF-8: byte {error.start} of it does not fit"
        print_refusal(Refusal("os.error", told), invocation.as_json)
        return 1
    except OSError as error:
        print_refusal(Refusal("os.error", str(error)), invocation.as_json)
        return 1
    except (KeyboardInterrupt, click.exceptions.Abort):
        return 130
    return result if isinstance(result, int) else 0


def _mend_streams() -> None:
    """Whatever a shell made of standard output and error, printing is no failure of the command."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Closed (`>&-`): nobody reads it.
            setattr(sys, name, open(os.devnull, "w"))
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            # A locale that is not UTF-8 has no form for every name.
            stream.reconfigure(errors="backslashreplace")


def _wrong_usage(error: click.ClickException, as_json: bool) -> int:
    if as_json:
        print_refusal(Refusal("usage", error.format_message()), as_json)
    else:
        error.show()
    return error.exit_code
