"""`make screenshots`: the pictures of docs/images, made again from a plant that is built for them.

    python -m tests.browser.screenshots [--only NAME]

Ten main pages, each by day and by night.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser

from tests.browser.chromium import chromium
from tests.browser.pages import THEMES, Person, Theme, signed_in
from tests.browser.plant import PUMPS, TEMPLATE, build, running_pumps
from tests.e2e.sdk import until
from tests.hubs import Hub, free_port, sdk_hub

__all__ = ["main"]

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "images"
_SIZE: Final = {"width": 1280, "height": 800}


def _open(path: str) -> Callable[[Person], None]:
    return lambda person: person.open(path)


def _refusal(person: Person) -> None:
    person.open("/attempts?only=refused")
    person.page.get_by_role("row").filter(has_text="pump-09").get_by_role("link").first.click()
    person.page.wait_for_url("**/attempts/*")


def _explorer(person: Person) -> None:
    person.open("/explorer")
    group = person.page.get_by_label("Device group", exact=True)
    group.select_option(label="Pump - All devices")
    person.waits()
    person.page.get_by_label("Temperature").select_option("average")
    _column(person, "average")
    person.page.get_by_label("Group by").select_option("$id")
    _column(person, "Pump 1")


def _column(person: Person, name: str) -> None:
    """Of the figures below the chart, once they are there."""
    person.page.get_by_role("columnheader").filter(has_text=name).first.wait_for()


PICTURES: Final[dict[str, Callable[[Person], None]]] = {
    "dashboard": _open("/dashboards/pumps"),
    "devices": _open("/devices"),
    "device": _open(f"/devices/{PUMPS[1]}"),
    "raw-data": _open(f"/devices/{PUMPS[1]}/data"),
    "template": _open(f"/device-templates/{TEMPLATE}"),
    "explorer": _explorer,
    "verified": _open("/groups/pumps/primary"),
    "refusal": _refusal,
    "forecast": _open("/certificates"),
    "supply-chain": _open("/certificates/chains"),
}


def take(browser: Browser, hub: Hub, theme: Theme, names: Sequence[str]) -> None:
    with signed_in(browser, hub, f"ada-{theme}", theme, viewport=_SIZE) as person:
        for name in names:
            PICTURES[name](person)
            person.waits()
            # Charts draw when their data has come.
            person.page.wait_for_timeout(1500)
            person.page.mouse.move(0, 0)
            person.screenshot(FOLDER / f"{name}-{theme}.png")
            sys.stdout.write(f"{name}-{theme}.png\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The pictures of docs/images, made again.")
    parser.add_argument("--only", choices=sorted(PICTURES), action="append", help="this one [all]")
    options = parser.parse_args(arguments)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with sdk_hub(folder / "hub", web_port=free_port()) as hub:
            build(hub, folder)
            with running_pumps(hub, folder, 6), chromium() as browser:
                until("the day is in the series", lambda: "moorage_series_behind_bytes 0.0" in _metrics(hub), 120)
                for theme in THEMES:
                    take(browser, hub, theme, options.only or list(PICTURES))
    return 0


def _metrics(hub: Hub) -> str:
    return b"\n".join(hub.owner.lines("/metrics", {})).decode()


if __name__ == "__main__":
    sys.exit(main())
