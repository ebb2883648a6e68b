"""axe-core's rules on the page that is open: whatever it finds, moderate or worse, is a fault."""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import Any, Final

from playwright.sync_api import Locator, Page

from tests.e2e.node.workshop import HERE as NODE

__all__ = ["Issues", "issues_of"]

_TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


class Issues(Enum):
    """Which rules are asked: those of the Web Content Accessibility Guidelines 2.2 to level AA, and good practice."""

    ALL = {"type": "tag", "values": _TAGS}
    COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}


@cache
def _axe() -> str:
    return (NODE / "node_modules" / "axe-core" / "axe.min.js").read_text()


def issues_of(page: Page, asked: Issues, part: Locator | None = None) -> list[str]:
    """One sentence each: the rule, what it says, and where; of the whole page, or of a part of it."""
    if not page.evaluate("'axe' in window"):
        # Over the debugger's protocol: the pages' own policy lets no foreign script in.
        page.evaluate(_axe())
    options = {"runOnly": asked.value, "resultTypes": ["violations"]}
    found: dict[str, Any] = (part or page.locator("html")).evaluate("axe.run", options)
    return [
        f"{issue['id']} ({issue['impact']}): {issue['help']} at {_places(issue['nodes'])}"
        for issue in found["violations"]
        if issue["impact"] != "minor"
    ]


def _places(nodes: list[dict[str, Any]]) -> str:
    return "; ".join(str(node["target"]) for node in nodes[:5])
