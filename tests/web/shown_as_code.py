"""Where every act of the application is shown as code, and what pastes it there.

`SHOWN` names, for what a page sends, the pages under whose "Show as code" it stands and by which name. Tests that paste
an act and look at its effect say so with `replays`; the shell that they paste into checks them.

Where the variable `MOORAGE_AZ` names a program, `az` with its extension azure-iot, the same tests paste the line for it
wherever a page shows one (`make shown-by-az`).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from html import unescape
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import httpx
from starlette.routing import compile_path

from tests.web.browser import Browser

__all__ = ["AZ", "AZ_HOST", "REPLAYED", "SCREEN_ONLY", "SHOWN", "Shell", "Shown", "replays"]

T = TypeVar("T", bound=Callable[..., Any])


class Shown(NamedTuple):
    """`page` is the pattern of the page, `label` the name of the act there."""

    page: str
    label: str


def _at(page: str, *labels: str) -> tuple[Shown, ...]:
    return tuple(Shown(page, label) for label in labels)


# What is sent, and where it is shown. What is only read is there too where a button does it.
SHOWN: Final[Mapping[str, tuple[Shown, ...]]] = {
    # -- devices ---------------------------------------------------------------------------------------------------
    "POST /devices/{device_id}/connect": _at(
        "/devices/{device_id}/connect", "Save", "Save a primary certificate", "Save a secondary certificate"
    ),
    "POST /devices/{device_id}/manage": _at("/devices/{device_id}/manage", "Save"),
    "POST /devices/{device_id}/migrate": _at("/devices/{device_id}/migrate", "Assign"),
    "POST /devices/{device_id}/properties": _at("/devices/{device_id}/properties", "Save"),
    "POST /devices/{device_id}/views/{view_id}": _at("/devices/{device_id}/views/{view_id}", "Save"),
    "POST /devices/{device_id}/downstream": _at("/devices/{device_id}/downstream", "Attach", "Detach"),
    "POST /devices/{device_id}/gateway": _at("/devices/{device_id}/gateway", "Attach", "Detach"),
    "POST /devices/{device_id}/command": _at("/devices/{device_id}/command", "Run", "Run, queued if offline"),
    "POST /devices/{device_id}/commands": _at("/devices/{device_id}/code", "Command: thermostat1.getMaxMinReport")
    + _at("/devices/{device_id}/views/{view_id}", "Command: thermostat1.getMaxMinReport"),
    "POST /devices/{device_id}/aliases": _at("/devices/{device_id}/aliases", "Save"),
    "POST /devices/{device_id}/aliases/delete": _at("/devices/{device_id}/aliases", "Delete"),
    "POST /devices/{device_id}/files/delete": _at("/devices/{device_id}/files", "Delete"),
    "POST /devices": _at("/devices/new", "Create"),
    "POST /devices/{device_id}/connect/remove": _at("/devices/{device_id}/connect", "Remove individual enrollment"),
    "POST /devices/{device_id}/approve": _at("/devices/{device_id}/code", "Approve"),
    "POST /devices/{device_id}/block": _at("/devices/{device_id}/code", "Block"),
    "POST /devices/{device_id}/unblock": _at("/devices/{device_id}/code", "Unblock"),
    "POST /devices/{device_id}/delete": _at("/devices/{device_id}/code", "Delete"),
    # -- templates -------------------------------------------------------------------------------------------------
    "POST /device-templates": _at("/device-templates/new", "Create"),
    "POST /device-templates/import": _at("/device-templates/new", "Import"),
    "POST /device-templates/from-folder": _at("/device-templates/new", "From the model folder"),
    "POST /device-templates/{template_id}/names": _at("/device-templates/{template_id}/names", "Save"),
    "POST /device-templates/{template_id}/model": _at("/device-templates/{template_id}/model", "Save"),
    "POST /device-templates/{template_id}/modules": _at("/device-templates/{template_id}/modules", "Import modules"),
    "POST /device-templates/{template_id}/capability": _at("/device-templates/{template_id}/capability", "Save"),
    "POST /device-templates/{template_id}/capability/remove": _at(
        "/device-templates/{template_id}/capability", "Remove"
    ),
    "POST /device-templates/{template_id}/views": _at("/device-templates/{template_id}/views/{view_id}", "Create"),
    "POST /device-templates/{template_id}/views/{view_id}": _at(
        "/device-templates/{template_id}/views/{view_id}", "Rename"
    ),
    "POST /device-templates/{template_id}/views/{view_id}/tiles": _at(
        "/device-templates/{template_id}/views/{view_id}", "Add"
    ),
    "POST /device-templates/{template_id}/views/{view_id}/move": _at(
        "/device-templates/{template_id}/views/{view_id}", "Move the first tile down", "Remove the first tile"
    ),
    "POST /device-templates/{template_id}/views/{view_id}/delete": _at(
        "/device-templates/{template_id}/views/{view_id}", "Delete"
    ),
    "POST /device-templates/{template_id}/publish": _at("/device-templates/{template_id}/publish", "Publish"),
    "POST /device-templates/{template_id}/discard": _at("/device-templates/{template_id}", "Discard changes"),
    "POST /device-templates/{template_id}/version": _at("/device-templates/{template_id}", "Version"),
    "POST /device-templates/{template_id}/delete": _at("/device-templates/{template_id}", "Delete"),
    "POST /devices/{device_id}/auto-create": _at("/devices/{device_id}/auto-create", "Create template"),
    # -- enrollment groups, certificates ---------------------------------------------------------------------------
    "POST /certificates/rehearsal": _at("/certificates/rehearsal", "Rehearse"),
    "POST /certificates/rolls": _at("/certificates/rehearsal", "Roll it now"),
    "POST /certificates/rolls/{group_id}/undo": _at("/certificates/rolls/{group_id}", "Undo"),
    "POST /certificates/ca-rolls/{name}/undo": _at("/certificates/ca-rolls/{name}", "Undo"),
    "POST /certificates/chains": _at("/certificates/chains", "Judge it"),
    "POST /groups": _at("/groups/new", "Save"),
    "POST /groups/auto-approve": _at("/groups", "Save"),
    "POST /groups/{group_id}": _at("/groups/{group_id}", "Save"),
    "POST /groups/{group_id}/delete": _at("/groups/{group_id}", "Delete"),
    "POST /groups/{group_id}/{slot}/certificate": _at("/groups/{group_id}/{slot}", "Add certificate"),
    "POST /groups/{group_id}/{slot}/code": _at("/groups/{group_id}/{slot}", "Generate verification code"),
    "POST /groups/{group_id}/{slot}/verify": _at("/groups/{group_id}/{slot}", "Verify"),
    "POST /groups/{group_id}/{slot}/remove": _at("/groups/{group_id}/{slot}", "Remove"),
    # -- the list of devices -------------------------------------------------------------------------------------------
    "POST /device-operations": _at(
        "/device-operations/code",
        "Approve",
        "Block",
        "Unblock",
        "Migrate",
        "Organization",
        "Attach to gateway",
        "Detach",
        "Delete",
    ),
    "POST /device-operations/{operation_id}/stop": _at("/device-operations", "Stop"),
    "POST /device-import": _at("/device-import", "Import"),
    "GET /device-export": _at("/device-operations/code", "Export"),
    # -- automation --------------------------------------------------------------------------------------------------
    "POST /rules": _at("/rules/new", "Save", "Try on the last day", "Send a test"),
    "POST /rules/{rule_id}": _at("/rules/{rule_id}", "Save", "Try on the last day", "Send a test"),
    "POST /rules/{rule_id}/switch": _at("/rules/{rule_id}", "Disable", "Enable"),
    "POST /rules/{rule_id}/delete": _at("/rules/{rule_id}", "Delete"),
    "POST /exports/destinations": _at("/exports/destinations/new", "Save", "Send a test"),
    "POST /exports/destinations/{destination_id}": _at("/exports/destinations/{destination_id}", "Save", "Send a test"),
    "POST /exports/destinations/{destination_id}/delete": _at("/exports/destinations/{destination_id}", "Delete"),
    "POST /exports": _at("/exports/new", "Save", "Show a sample"),
    "POST /exports/{export_id}": _at("/exports/{export_id}", "Save", "Show a sample"),
    "POST /exports/{export_id}/switch": _at("/exports/{export_id}", "Switch off", "Switch on"),
    "POST /exports/{export_id}/delete": _at("/exports/{export_id}", "Delete"),
    "POST /jobs": _at("/jobs/new", "Run"),
    "POST /jobs/{job_id}/stop": _at("/jobs/{job_id}", "Stop"),
    "POST /jobs/{job_id}/resume": _at("/jobs/{job_id}", "Continue"),
    "POST /jobs/{job_id}/rerun": _at("/jobs/{job_id}", "Rerun on failed devices"),
    "GET /jobs/{job_id}/results.csv": _at("/jobs/{job_id}", "Download results"),
    "POST /jobs/scheduled/{schedule_id}/switch": _at("/jobs/scheduled/{schedule_id}", "Disable", "Enable"),
    "POST /jobs/scheduled/{schedule_id}/delete": _at("/jobs/scheduled/{schedule_id}", "Delete"),
    "POST /manifests": _at("/manifests/new", "Save"),
    "POST /manifests/{manifest_id}": _at("/manifests/{manifest_id}", "Save"),
    "POST /manifests/{manifest_id}/delete": _at("/manifests/{manifest_id}", "Delete"),
    "POST /devices/{device_id}/manifest": _at("/devices/{device_id}/manifest", "Assign", "Assign none"),
    "POST /devices/{device_id}/manifest/content": _at("/devices/{device_id}/manifest", "Apply"),
    # -- device groups, dashboards, settings ---------------------------------------------------------------------------
    "POST /device-groups": _at("/device-groups/new", "Save"),
    "POST /device-groups/{group_id}": _at("/device-groups/{group_id}", "Save"),
    "POST /device-groups/{group_id}/delete": _at("/device-groups/{group_id}", "Delete"),
    "POST /dashboards": _at("/dashboards/new", "Create"),
    "POST /dashboards/{board_id}": _at("/dashboards/{board_id}/edit", "Rename"),
    "POST /dashboards/{board_id}/delete": _at("/dashboards/{board_id}/edit", "Delete"),
    "POST /dashboards/{board_id}/tiles": _at("/dashboards/{board_id}/edit", "Add a tile"),
    "POST /dashboards/{board_id}/tiles/{tile_id}": _at(
        "/dashboards/{board_id}/tiles/{tile_id}/edit", "Save", "Picture"
    ),
    "POST /dashboards/{board_id}/tiles/{tile_id}/place": _at("/dashboards/{board_id}/tiles/{tile_id}/edit", "Save"),
    "POST /dashboards/{board_id}/tiles/{tile_id}/delete": _at(
        "/dashboards/{board_id}/tiles/{tile_id}/edit", "Remove this tile"
    ),
    "POST /dashboards/{board_id}/tiles/{tile_id}/run": _at("/dashboards/{board_id}/tiles/{tile_id}/edit", "Run"),
    "POST /explorer/queries": _at("/explorer", "Save"),
    "POST /explorer/queries/{query_id}/delete": _at("/explorer", "Delete this saved query"),
    "GET /explorer/data.csv": _at("/explorer", "Export CSV"),
    "POST /settings/application": _at("/settings/application", "Save"),
    "POST /settings/customization": _at("/settings/customization", "Save"),
    "POST /settings/customization/{which}": _at("/settings/customization", "Upload: logo", "Upload: icon"),
    "POST /settings/customization/{which}/remove": _at("/settings/customization", "Remove: logo", "Remove: icon"),
    "GET /audit/entries.csv": _at("/audit", "Export"),
    # -- people ----------------------------------------------------------------------------------------------------
    "POST /users": _at("/users", "Assign user"),
    "POST /users/{user_id}/assignment": _at("/users", "Change"),
    "POST /users/{user_id}/disable": _at("/users", "Disable"),
    "POST /users/{user_id}/enable": _at("/users", "Enable"),
    "POST /users/{user_id}/link": _at("/users", "New link"),
    "POST /users/{user_id}/delete": _at("/users", "Delete"),
    "POST /roles": _at("/roles/new", "Save"),
    "POST /roles/{role_id}": _at("/roles/{role_id}", "Save"),
    "POST /roles/{role_id}/delete": _at("/roles", "Delete") + _at("/roles/{role_id}", "Delete"),
    "POST /organizations": _at("/organizations", "New organization"),
    "POST /organizations/{organization_id}": _at("/organizations/{organization_id}", "Save"),
    "POST /organizations/{organization_id}/move": _at("/organizations/{organization_id}", "Move devices"),
    "POST /organizations/{organization_id}/delete": _at(
        "/organizations/{organization_id}", "Delete", "Delete, and move what it holds"
    ),
    "POST /tokens": _at("/tokens", "Generate"),
    "POST /tokens/{token_id}/delete": _at("/tokens", "Delete"),
}

# Acts of a screen, or of whoever sits at it: there is nothing that a program would do in its place.
SCREEN_ONLY: Final[Mapping[str, str]] = {
    "POST /sign-in": "signing in makes a session of a browser; programs have tokens",
    "POST /sign-in/link/{token}": "as signing in",
    "POST /sign-in/on": "as signing in",
    "POST /sign-out": "ends the session of a browser",
    "POST /certificates/calendar": "the address of a feed is for the calendar of whoever asks for it alone",
    "POST /theme": "how this browser shows pages",
    "POST /profile/password": "one's own password is typed, not sent by a program",
    "POST /profile/organization": "which organization this browser begins with",
    "POST /profile/sign-out": "ends one's own other sessions",
    "POST /certificates/rehearsal/stranded.csv": "the list of a rehearsal, which is asked for by REST, as a file",
    "POST /device-groups/preview": "what a form that is being filled would mean",
    "POST /jobs/values": "fields of a form that is being filled",
}

REPLAYED: Final[set[str]] = set()


def replays(*acts: str) -> Callable[[T], T]:
    """This test pastes each of `acts`, keys of `SHOWN`, from every page that shows it, in one language at least."""

    def mark(test: T) -> T:
        REPLAYED.update(acts)
        test.__dict__["replays"] = acts
        return test

    return mark


# The program, '' for none, and the name by which it is told of the hub: it puts a host together of two parts.
AZ: Final = os.environ.get("MOORAGE_AZ", "")
AZ_HOST: Final = "iot.example.com"
_RESOLVER: Final = """
import socket

found = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: found("127.0.0.1" if host == {host!r} else host, *rest, **more)
"""
# Runs texts that it reads, a line of JSON each, and says for each whether it went wrong, and what it printed.
_INTERPRETER: Final = """
import contextlib, io, json, sys, traceback

for line in sys.stdin:
    code, said = 0, io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            exec(compile(json.loads(line), "pasted", "exec"), {})
        except BaseException as error:
            code = 1
            print(traceback.format_exc(), getattr(error, "read", str)())
    print(json.dumps([code, said.getvalue()]), flush=True)
"""
_MOST_SAID: Final = 4 * 1024 * 1024


class Shell:
    """Where somebody pastes what a page shows: a folder with their files, an API token, and the hub's CA."""

    def __init__(self, browser: Browser, folder: Path, environment: dict[str, str]) -> None:
        self._browser = browser
        self.folder = folder
        self.environment = environment
        self._pasted: list[tuple[str, str]] = []
        self._interpreter: asyncio.subprocess.Process | None = None

    async def paste(self, path: str, act: str, language: str = "curl", *, page: httpx.Response | None = None) -> str:
        """What it printed; the act has to succeed. `page` is what a form of that path answered, if it was sent."""
        page = page or await self._browser.open(path)
        text = self.read(page, act, "az") if AZ else ""
        text, language = (text, "az") if text else (self.read(page, act, language), language)
        said = await self.run(text, language)
        self._pasted.append((path.partition("?")[0], act))
        return said

    async def run(self, text: str, language: str) -> str:
        """What `read` found, whatever has become of its page."""
        code, said = await (self._python(text) if language == "Python" else self._bash(text))
        assert code == 0, f"{language}: {text}\n{said}"
        return said

    async def close(self) -> None:
        if self._interpreter is not None and self._interpreter.stdin is not None:
            self._interpreter.stdin.close()
            await self._interpreter.wait()

    async def _bash(self, text: str) -> tuple[int, str]:
        run = await asyncio.create_subprocess_exec(
            *("bash", "-e", "-o", "pipefail", "-c"),
            text,
            cwd=self.folder,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, told = await asyncio.wait_for(run.communicate(), 60)
        return run.returncode or 0, said.decode() + (told.decode() if run.returncode else "")

    async def _python(self, text: str) -> tuple[int, str]:
        """Each text has a namespace of its own; that they share an interpreter saves its start."""
        if self._interpreter is None:
            self._interpreter = await asyncio.create_subprocess_exec(
                *(sys.executable, "-u", "-c", _INTERPRETER),
                cwd=self.folder,
                env=self.environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_MOST_SAID,
            )
        stdin, stdout = self._interpreter.stdin, self._interpreter.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps(text).encode() + b"\n")
        code, said = json.loads(await asyncio.wait_for(stdout.readline(), 60))
        return code, said

    def read(self, page: httpx.Response, act: str, language: str) -> str:
        """The text of an act in one language."""
        sections = re.split(r"<h[23]>", page.text.partition("Show as code")[2])
        text = next((each for each in sections if unescape(each).startswith(f"{act}</h")), None)
        assert text is not None, f"{page.url} ({page.status_code}) does not show {act!r} as code"
        return unescape(
            text.partition(f"<summary>{language}</summary>")[2].partition("<code>")[2].partition("</code>")[0]
        )

    def missed(self, acts: tuple[str, ...]) -> list[Shown]:
        """What of these acts was not pasted from where they are shown."""
        return [
            shown
            for act in acts
            for shown in SHOWN[act]
            if not any(
                compile_path(shown.page)[0].fullmatch(path) and shown.label == label for path, label in self._pasted
            )
        ]


def environment_of(token: str, ca_bundle: Path, home: Path, port: int) -> dict[str, str]:
    variables: dict[str, str] = {}
    if AZ:
        # Nobody else knows the name.
        (home / "sitecustomize.py").write_text(_RESOLVER.format(host=AZ_HOST))
        (home / ".curlrc").write_text(f'resolve = "{AZ_HOST}:{port}:127.0.0.1"\n')
        variables = {"AZURE_EXTENSION_DIR": str(Path.home() / ".azure" / "cliextensions")}
        variables |= {name: value for name, value in os.environ.items() if name.startswith("AZURE_")}
        variables |= {"PYTHONPATH": str(home), "REQUESTS_CA_BUNDLE": str(ca_bundle)}
    return variables | {
        "MOORAGE_TOKEN": token,
        "CA_BUNDLE": str(ca_bundle),
        "PATH": f"{Path(AZ).parent}:{os.environ['PATH']}" if AZ else os.environ["PATH"],
        # Python's own cache of compiled files stays where it is.
        "HOME": str(home),
    }
