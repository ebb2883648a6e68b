"""What an open page does when its stream is refused, its clock is wrong, or a part of it is answered with a no."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

from playwright.sync_api import Locator, Route, expect

from tests.browser.pages import PATIENCE_MS, Person
from tests.browser.test_dashboards import a_device_that_sent
from tests.e2e.node.workshop import Workshop

NewName = Callable[[str], str]
# Two hours ahead.
WRONG_CLOCK = "const now = Date.now; Date.now = () => now.call(Date) + 7_200_000;"
COUNTED = """() => {
  window.counts = { made: 0, gone: 0 };
  window.uPlot = new Proxy(window.uPlot, {
    construct(plot, given) {
      counts.made += 1;
      const made = new plot(...given);
      const { destroy } = made;
      made.destroy = () => { counts.gone += 1; destroy(); };
      return made;
    },
  });
}"""
# What the hub says after its first word never arrives, and a minute is a second.
MUTE = """
  const Real = EventSource, now = performance.now.bind(performance);
  window.opened = 0;
  window.EventSource = class extends Real {
    constructor(address) { super(address); window.opened += 1; }
    addEventListener(name, listener) {
      if (name === "open" || name === "error") super.addEventListener(name, listener);
    }
  };
  performance.now = () => now() * 60;
"""
NO = '<div class="problem" role="alert"><p><strong>Somebody else was faster.</strong></p></div>'


def test_a_device_page_survives_a_stream_that_is_refused_and_a_wrong_clock(
    person: Person, workshop: Workshop, new_name: NewName
) -> None:
    device_id = a_device_that_sent(person, workshop, new_name)
    refused: list[str] = []

    def refuse_twice(route: Route) -> None:
        if route.request.method == "GET" and len(refused) < 2:
            refused.append(route.request.url)
            route.fulfill(status=429, body="later")
        else:
            route.continue_()

    loads: list[str] = []
    person.page.on("load", lambda page: loads.append(page.url))
    person.page.add_init_script(WRONG_CLOCK)
    person.page.route("**/live", refuse_twice)
    person.open(f"/devices/{device_id}")
    status = person.page.locator("p.live")
    expect(status).to_have_text("Not connected; trying again", timeout=PATIENCE_MS)
    expect(status).to_have_text("Live", timeout=PATIENCE_MS)
    assert len(refused) == 2
    person.page.wait_for_timeout(6_000)
    ages = person.page.locator("time[data-at]").all_inner_texts()
    assert ages and not [age for age in ages if " h " in age], ages
    # What has no place on the page does not load it again and again.
    name = json.dumps([{"key": "/never shown", "text": "1", "number": 1, "problem": "", "at": None}])
    person.page.unroute("**/live")
    told = f"event: values\ndata: {name}\n\n"
    person.page.route("**/live", lambda route: route.fulfill(content_type="text/event-stream", body=told))
    loads.clear()
    person.page.reload()
    person.page.wait_for_timeout(6_000)
    assert len(loads) == 2


def test_a_stream_that_went_without_a_word_is_opened_anew(
    person: Person, workshop: Workshop, new_name: NewName
) -> None:
    """As when the computer slept: nobody told the browser that nothing comes any more."""
    device_id = a_device_that_sent(person, workshop, new_name)
    person.page.add_init_script(MUTE)
    person.open(f"/devices/{device_id}")
    comes_true(person, "() => opened > 2")


def test_a_stream_that_is_refused_to_whoever_signed_out_leads_to_the_door(
    person: Person, workshop: Workshop, new_name: NewName
) -> None:
    device_id = a_device_that_sent(person, workshop, new_name)

    def refuse(route: Route) -> None:
        if route.request.method == "GET":
            route.fulfill(status=429, body="")
        else:
            route.continue_()

    person.page.route("**/live", refuse)
    person.open(f"/devices/{device_id}")
    expect(person.page.locator("p.live")).to_have_text("Not connected; trying again", timeout=PATIENCE_MS)
    person.page.context.clear_cookies(name="__Host-moorage")
    person.page.wait_for_url("**/sign-in?next=*", timeout=PATIENCE_MS)


def test_a_tile_whose_place_is_refused_goes_back_and_the_page_says_why(person: Person, new_name: NewName) -> None:
    person.open("/dashboards/new")
    person.fill("Name", new_name("refused"))
    person.press("Create")
    person.page.wait_for_url("**/edit", timeout=PATIENCE_MS)
    person.press("Label")
    person.page.wait_for_url("**/tiles/*/edit", timeout=PATIENCE_MS)
    person.page.goto(re.sub(r"/tiles/.*", "/edit", person.page.url))
    person.page.route("**/place", lambda route: route.fulfill(status=409, content_type="text/html", body=NO))
    tile = person.page.locator("#board .tile")
    drag(person, tile)
    person.sees("Somebody else was faster")
    assert x_of(tile) == x_of(tile.page.locator("#board"))
    # Nor does what never arrives stay where it was dropped.
    person.page.unroute("**/place")
    person.page.route("**/place", lambda route: route.abort())
    drag(person, tile)
    person.sees("The hub did not answer")
    assert x_of(tile) == x_of(tile.page.locator("#board"))
    assert person.page.locator(".told").count() == 1
    # htmx says so too, and so does the browser.
    known = (
        "Response Status Error Code 409",
        "htmx:sendError",
        "htmx:afterRequest",
        "Failed to load resource: net::ERR_FAILED",
    )
    assert not [complaint for complaint in person.complaints if not complaint.startswith(known)], person.complaints
    person.complaints.clear()


def test_a_chart_that_is_replaced_is_gone(person: Person) -> None:
    """A dashboard on a wall has its tiles replaced each minute, for months."""
    person.open("/dashboards/default")
    expect(person.page.locator("#tile-messages .u-over")).to_be_visible(timeout=PATIENCE_MS)
    person.page.evaluate(COUNTED)
    for _ in range(3):
        person.page.evaluate(
            "htmx.ajax('GET', '/dashboards/default/tiles/messages', {target: '#tile-messages', swap: 'outerHTML'})"
        )
        person.waits()
        expect(person.page.locator("#tile-messages .u-over")).to_be_visible(timeout=PATIENCE_MS)
    comes_true(person, "() => counts.made === 3 && counts.gone === 2")


def comes_true(person: Person, expression: str) -> None:
    """Asked from here: the page's own policy lets nobody wait by a text inside of it."""
    until = time.monotonic() + PATIENCE_MS / 1000
    while not person.page.evaluate(expression):
        assert time.monotonic() < until, expression
        person.page.wait_for_timeout(100)


def drag(person: Person, tile: Locator) -> None:
    """To the right."""
    grip = tile.locator(".grip").bounding_box()
    assert grip is not None
    before = x_of(tile)
    mouse = person.page.mouse
    mouse.move(grip["x"] + 4, grip["y"] + 4)
    mouse.down()
    mouse.move(grip["x"] + 404, grip["y"] + 4, steps=5)
    assert x_of(tile) > before + 100
    mouse.up()


def x_of(place: Locator) -> float:
    box = place.bounding_box()
    assert box is not None
    return box["x"]
