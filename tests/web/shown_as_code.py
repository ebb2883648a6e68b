"""Where every act of the application is shown as code, and what pastes it there.

`SHOWN` names, for what a page sends, the pages under whose "Show as code" it stands and by which name. Tests that paste
an act and look at its effect say so with `replays`; the shell that they paste into checks them.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Mapping
from html import unescape
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from starlette.routing import compile_path

from tests.web.browser import Browser

__all__ = ["NOT_YET", "REPLAYED", "SCREEN_ONLY", "SHOWN", "Shell", "Shown", "replays"]

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
    "POST /devices": _at("/devices/new", "Create"),
    "POST /devices/{device_id}/connect": _at("/devices/{device_id}/connect", "Save a certificate"),
    "POST /devices/{device_id}/connect/remove": _at("/devices/{device_id}/connect", "Remove individual enrollment"),
    "POST /devices/{device_id}/approve": _at("/devices/{device_id}/code", "Approve"),
    "POST /devices/{device_id}/block": _at("/devices/{device_id}/code", "Block"),
    "POST /devices/{device_id}/unblock": _at("/devices/{device_id}/code", "Unblock"),
    "POST /devices/{device_id}/delete": _at("/devices/{device_id}/code", "Delete"),
    "POST /devices/{device_id}/command": _at("/devices/{device_id}/code", "Command: reboot"),
    # -- templates -------------------------------------------------------------------------------------------------
    "POST /device-templates/{template_id}/publish": _at("/device-templates/{template_id}/publish", "Publish"),
    "POST /device-templates/{template_id}/delete": _at("/device-templates/{template_id}", "Delete"),
    # -- enrollment groups, certificates ---------------------------------------------------------------------------
    "POST /groups/{group_id}": _at("/groups/{group_id}", "Save"),
    "POST /groups/{group_id}/delete": _at("/groups/{group_id}", "Delete"),
    "POST /groups/{group_id}/{slot}/certificate": _at("/groups/{group_id}/{slot}", "Add certificate"),
    "POST /groups/{group_id}/{slot}/code": _at("/groups/{group_id}/{slot}", "Generate verification code"),
    "POST /groups/{group_id}/{slot}/verify": _at("/groups/{group_id}/{slot}", "Verify"),
    "POST /groups/{group_id}/{slot}/remove": _at("/groups/{group_id}/{slot}", "Remove"),
    # -- people ----------------------------------------------------------------------------------------------------
}

# Acts of a screen, or of whoever sits at it: there is nothing that a program would do in its place.
SCREEN_ONLY: Final[Mapping[str, str]] = {
    "POST /sign-in": "signing in makes a session of a browser; programs have tokens",
    "POST /sign-in/link/{token}": "as signing in",
    "POST /sign-out": "ends the session of a browser",
    "POST /theme": "how this browser shows pages",
    "POST /profile/password": "one's own password is typed, not sent by a program",
    "POST /profile/organization": "which organization this browser begins with",
    "POST /profile/sign-out": "ends one's own other sessions",
    "POST /device-groups/preview": "what a form that is being filled would mean",
    "POST /jobs/values": "fields of a form that is being filled",
}

# What is still without, which nothing is when this is done.
NOT_YET: Final[set[str]] = {
    "POST /device-operations",
    "POST /device-operations/{operation_id}/stop",
    "POST /device-import",
    "POST /devices/{device_id}/views/{view_id}",
    "POST /devices/{device_id}/commands",
    "POST /devices/{device_id}/aliases",
    "POST /devices/{device_id}/aliases/delete",
    "POST /devices/{device_id}/files/delete",
    "POST /devices/{device_id}/downstream",
    "POST /devices/{device_id}/gateway",
    "POST /devices/{device_id}/properties",
    "POST /devices/{device_id}/manage",
    "POST /devices/{device_id}/migrate",
    "POST /certificates/calendar",
    "POST /certificates/chains",
    "POST /certificates/rehearsal",
    "POST /certificates/rolls",
    "POST /certificates/rolls/{group_id}/undo",
    "POST /device-templates",
    "POST /device-templates/import",
    "POST /device-templates/from-folder",
    "POST /device-templates/{template_id}/discard",
    "POST /device-templates/{template_id}/version",
    "POST /device-templates/{template_id}/model",
    "POST /device-templates/{template_id}/names",
    "POST /device-templates/{template_id}/modules",
    "POST /device-templates/{template_id}/capability",
    "POST /device-templates/{template_id}/capability/remove",
    "POST /device-templates/{template_id}/views",
    "POST /device-templates/{template_id}/views/{view_id}",
    "POST /device-templates/{template_id}/views/{view_id}/tiles",
    "POST /device-templates/{template_id}/views/{view_id}/move",
    "POST /device-templates/{template_id}/views/{view_id}/delete",
    "POST /devices/{device_id}/auto-create",
    "POST /groups",
    "POST /groups/auto-approve",
    "POST /rules",
    "POST /rules/{rule_id}",
    "POST /rules/{rule_id}/switch",
    "POST /rules/{rule_id}/delete",
    "POST /exports",
    "POST /exports/destinations",
    "POST /exports/destinations/{destination_id}",
    "POST /exports/destinations/{destination_id}/delete",
    "POST /exports/{export_id}",
    "POST /exports/{export_id}/switch",
    "POST /exports/{export_id}/delete",
    "POST /jobs",
    "POST /jobs/scheduled/{schedule_id}/switch",
    "POST /jobs/scheduled/{schedule_id}/delete",
    "POST /jobs/{job_id}/stop",
    "POST /jobs/{job_id}/resume",
    "POST /jobs/{job_id}/rerun",
    "POST /manifests",
    "POST /manifests/{manifest_id}",
    "POST /manifests/{manifest_id}/delete",
    "POST /devices/{device_id}/manifest",
    "POST /devices/{device_id}/manifest/content",
    "POST /device-groups",
    "POST /device-groups/{group_id}",
    "POST /device-groups/{group_id}/delete",
    "POST /explorer/queries",
    "POST /explorer/queries/{query_id}/delete",
    "POST /dashboards",
    "POST /dashboards/{board_id}",
    "POST /dashboards/{board_id}/delete",
    "POST /dashboards/{board_id}/tiles",
    "POST /dashboards/{board_id}/tiles/{tile_id}",
    "POST /dashboards/{board_id}/tiles/{tile_id}/place",
    "POST /dashboards/{board_id}/tiles/{tile_id}/delete",
    "POST /dashboards/{board_id}/tiles/{tile_id}/run",
    "POST /users",
    "POST /users/{user_id}/assignment",
    "POST /users/{user_id}/disable",
    "POST /users/{user_id}/enable",
    "POST /users/{user_id}/link",
    "POST /users/{user_id}/delete",
    "POST /roles",
    "POST /roles/{role_id}",
    "POST /roles/{role_id}/delete",
    "POST /organizations",
    "POST /organizations/{organization_id}",
    "POST /organizations/{organization_id}/move",
    "POST /organizations/{organization_id}/delete",
    "POST /tokens",
    "POST /tokens/{token_id}/delete",
    "POST /settings/application",
    "POST /settings/customization",
    "POST /settings/customization/{which}",
    "POST /settings/customization/{which}/remove",
}

REPLAYED: Final[set[str]] = set()


def replays(*acts: str) -> Callable[[T], T]:
    """This test pastes each of `acts`, keys of `SHOWN`, from every page that shows it, in one language at least."""

    def mark(test: T) -> T:
        REPLAYED.update(acts)
        test.__dict__["replays"] = acts
        return test

    return mark


class Shell:
    """Where somebody pastes what a page shows: a folder with their files, an API token, and the hub's CA."""

    def __init__(self, browser: Browser, folder: Path, environment: dict[str, str]) -> None:
        self._browser = browser
        self.folder = folder
        self.environment = environment
        self._pasted: list[tuple[str, str]] = []

    async def paste(self, path: str, act: str, language: str = "curl") -> str:
        """What it printed; the act has to succeed."""
        text = await self.read(path, act, language)
        command = ("bash", "-e", "-o", "pipefail", "-c") if language == "curl" else (sys.executable, "-c")
        run = await asyncio.create_subprocess_exec(
            *command,
            text,
            cwd=self.folder,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, told = await asyncio.wait_for(run.communicate(), 60)
        assert run.returncode == 0, f"{act} by {language}: {text}\n{said.decode()}{told.decode()}"
        self._pasted.append((path.partition("?")[0], act))
        return said.decode()

    async def read(self, path: str, act: str, language: str) -> str:
        """The text of an act in one language."""
        page = await self._browser.open(path)
        sections = re.split(r"<h[23]>", page.text.partition("Show as code")[2])
        text = next((each for each in sections if unescape(each).startswith(f"{act}</h")), None)
        assert text is not None, f"{path} ({page.status_code}) does not show {act!r} as code"
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


def environment_of(token: str, ca_bundle: Path, home: Path) -> dict[str, str]:
    return {
        "MOORAGE_TOKEN": token,
        "CA_BUNDLE": str(ca_bundle),
        "PATH": os.environ["PATH"],
        # Python's own cache of compiled files stays where it is.
        "HOME": str(home),
    }
