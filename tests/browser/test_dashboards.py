"""Groups, the data explorer and dashboards, by mouse and by keyboard (contract/central.md 11, 12, 13)."""

from __future__ import annotations

import time
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.pages import PATIENCE_MS, Person
from tests.browser.test_groups import add_certificate, connects, new_group
from tests.e2e.node.workshop import Workshop

NewName = Callable[[str], str]


def a_device_that_sent(person: Person, workshop: Workshop, new_name: NewName) -> str:
    """Its telemetry is in the series by the time this returns."""
    root_name, device_id = new_name("board-root"), new_name("board-device")
    new_group(person, new_name("Board"))
    add_certificate(person, "primary", workshop.make("root", root_name).cert, verified=True)
    person.sees("Verified")
    connects(workshop, device_id, workshop.make("device", device_id, root_name), fullchain=True)
    until = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < until:
        person.open(f"/explorer?device={device_id}")
        if person.page.locator(".measures").count():
            return device_id
    raise AssertionError("what the device sent did not come into the series")


def test_a_chart_is_dragged_closer_and_a_query_becomes_a_tile(
    person: Person, workshop: Workshop, new_name: NewName
) -> None:
    device_id = a_device_that_sent(person, workshop, new_name)
    first = person.page.locator(".measures select").first
    first.select_option("count")
    person.waits()
    plot = person.page.locator(".plot .u-over")
    expect(plot).to_be_visible(timeout=PATIENCE_MS)
    box = plot.bounding_box()
    assert box is not None
    mouse = person.page.mouse
    mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 40)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 40, steps=5)
    mouse.up()
    person.page.wait_for_url("**since=2*")
    name = new_name("Saved")
    person.fill("Name", name)
    person.press("Save")
    person.sees_heading(name)

    person.open("/dashboards/new")
    person.fill("Name", new_name("Board"))
    person.press("Create")
    person.press("Data explorer query")
    person.page.get_by_label("Saved query").select_option(label=f"{name} (yours: others do not see it)")
    person.press("Save")
    person.press("Done")
    expect(person.page.locator(".tile.query")).to_be_visible(timeout=PATIENCE_MS)
    assert device_id


def test_tiles_are_moved_by_mouse_and_by_keyboard(person: Person, new_name: NewName) -> None:
    person.open("/dashboards/new")
    person.fill("Name", new_name("Moved"))
    person.press("Create")
    for text in ("First", "Second"):
        person.press("Label")
        person.fill("Text", text)
        person.press("Save")
    first, second = (person.page.locator(".tile").filter(has_text=text) for text in ("First", "Second"))
    expect(second).to_have_attribute("data-x", "4")
    button = first.get_by_role("button", name="Move down")
    button.focus()
    person.page.keyboard.press("Enter")
    person.waits()
    person.page.keyboard.press("Enter")
    # What moves a tile shows at the pointer.
    second.hover()
    grip = second.locator(".grip")
    box = grip.bounding_box()
    assert box is not None
    mouse = person.page.mouse
    mouse.move(box["x"] + 4, box["y"] + 4)
    mouse.down()
    mouse.move(box["x"] + 300, box["y"] + 4, steps=5)
    mouse.up()
    expect(second).not_to_have_attribute("data-x", "4", timeout=PATIENCE_MS)
    expect(person.page.locator(".tile.held")).to_have_count(0)
