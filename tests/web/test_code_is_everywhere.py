"""Show as code is everywhere: nothing that pages send is without, and what is shown is pasted by a test."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.servers.world import World
from tests.web.shown_as_code import REPLAYED, SCREEN_ONLY, SHOWN

HERE = Path(__file__).parent


async def test_all_that_pages_send_is_shown_as_code_or_has_a_reason_not_to_be(world: World) -> None:
    served = {f"{page.method} {page.pattern}" for page in world.app.web.pages}
    sent = {each for each in served if each.startswith("POST ")}
    said = [*SHOWN, *SCREEN_ONLY]
    assert sorted(said) == sorted(set(said)), "each stands in one place"
    assert sent - set(said) == set(), "these are not shown as code"
    assert set(said) - served == set(), "these are not served any more"
    pages = {page.pattern for page in world.app.web.pages if page.method == "GET"}
    assert {shown.page for each in SHOWN.values() for shown in each} <= pages


def test_all_that_is_shown_is_pasted_by_a_test() -> None:
    for file in HERE.glob("test_code_*.py"):
        importlib.import_module(f"tests.web.{file.stem}")
    assert set(SHOWN) - REPLAYED == set()
    assert REPLAYED <= set(SHOWN)
