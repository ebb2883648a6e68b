"""axe-core's rules on the page that is open: what it calls serious or critical is a fault."""

from __future__ import annotations

from functools import cache
from typing import Any

from playwright.sync_api import Page

from tests.e2e.node.workshop import HERE as NODE

__all__ = ["serious_issues"]

_RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}


@cache
def _axe() -> str:
    return (NODE / "node_modules" / "axe-core" / "axe.min.js").read_text()


def serious_issues(page: Page) -> list[str]:
    """One sentence each: the rule, what it says, and where."""
    # Over the debugger's protocol: the pages' own policy lets no foreign script in.
    page.evaluate(_axe())
    found: dict[str, Any] = page.evaluate("(rules) => axe.run(document, rules)", _RULES)
    return [
        f"{issue['id']} ({issue['impact']}): {issue['help']} at {_places(issue['nodes'])}"
        for issue in found["violations"]
        if issue["impact"] in ("serious", "critical")
    ]


def _places(nodes: list[dict[str, Any]]) -> str:
    return "; ".join(str(node["target"]) for node in nodes[:5])
