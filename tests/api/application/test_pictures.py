"""Pictures of dashboards over our own REST (central.md 13)."""

from __future__ import annotations

from typing import Any

from tests.api.application.world import Own
from tests.web.test_settings import png


async def test_a_picture_is_brought_shown_and_named_by_a_tile(own: Own) -> None:
    brought = await own.post("/dashboardPictures", png(), headers=[(b"content-type", b"image/png")])
    assert brought.status == 201, brought.body
    picture = brought.json()["id"]
    shown = await own.get(f"/dashboardPictures/{picture}")
    assert (shown.header("content-type"), shown.body) == ("image/png", png())
    shows: dict[str, Any] = {"displayName": "Hall", "configuration": {"type": "image", "image": picture}}
    tile = {**shows, "x": 0, "y": 0, "width": 2, "height": 2}
    made = await own.central.put(
        "/dashboards/hall", {"displayName": "Hall", "tiles": [tile]}, version="2022-10-31-preview"
    )
    assert made.status == 200, made.body
    assert made.json()["tiles"][0]["configuration"]["image"] == picture
    assert (await own.get("/dashboardPictures/none")).json()["error"]["reason"] == "image.unknown"
    assert (await own.post("/dashboardPictures", b"<svg>")).json()["error"]["reason"] == "image.kind"
    assert (await own.post("/dashboardPictures", png() + b"x" * 600_000)).status == 413
