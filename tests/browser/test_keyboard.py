"""The main flows by keyboard alone: what has the focus is always seen, and no key leads into a trap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.furniture import WAITING, Furnished
from tests.browser.pages import PATIENCE_MS, Person
from tests.browser.plant import PUMPS

# Of no page are more keys pressed on the way to anything.
_MOST: Final = 200
# '' where the element that has the focus shows it, inside the window; what stands for a hidden box shows it instead.
_UNSEEN: Final = """() => {
    const focused = document.activeElement;
    const hidden = getComputedStyle(focused).opacity === "0";
    const shown = hidden ? focused.nextElementSibling : focused;
    const style = getComputedStyle(shown), place = shown.getBoundingClientRect();
    const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
    const inside = place.bottom > 0 && place.top < innerHeight && place.right > 0 && place.left < innerWidth;
    return outlined && inside ? "" : `${outlined} ${inside} ${focused.outerHTML.slice(0, 160)}`;
}"""
_HAS_FOCUS: Final = "each => each === document.activeElement"


class Keys:
    """Somebody without a mouse."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.page = person.page

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def open(self, path: str) -> None:
        """And go to its content, by the link that is there for this."""
        self.person.open(path)
        self.skip()

    def skip(self) -> None:
        # Its scripts have their say by then.
        self.page.wait_for_load_state()
        self.person.waits()
        # A page may put the focus into its first field.
        self.page.evaluate("document.activeElement.blur()")
        while not self.has_focus(self.page.get_by_role("link", name="Skip to the content")):
            self.press("Shift+Tab")
        self.looks()
        self.press("Enter")
        assert self.has_focus(self.page.locator("main"))

    def to(self, role: Any, name: str) -> Locator:
        return self.forward(self.page.get_by_role("main").get_by_role(role, name=name, exact=True))

    def forward(self, wanted: Locator) -> Locator:
        """By Tab alone, and what has the focus on the way is seen."""
        for _ in range(_MOST):
            self.press("Tab")
            self.looks()
            at = wanted.evaluate_all("all => all.indexOf(document.activeElement)")
            if at >= 0:
                return wanted.nth(at)
        raise AssertionError(f"Tab does not come to {wanted}")

    def enter(self, role: Any, name: str) -> None:
        self.to(role, name)
        self.press("Enter")

    def types(self, label: str, text: str, role: Any = "textbox") -> None:
        self.to(role, label)
        self.page.keyboard.type(text)

    def chooses(self, label: str, option: str) -> None:
        """Letters lead to an option of a closed list."""
        self.types(label, option, "combobox")
        self.person.waits()

    def sees_heading(self, name: str) -> None:
        self.person.sees_heading(name)
        self.person.waits()

    def has_focus(self, each: Locator) -> bool:
        return bool(each.count() and each.first.evaluate(_HAS_FOCUS))

    def looks(self) -> None:
        unseen = self.page.evaluate(_UNSEEN)
        assert not unseen, f"{self.page.url}: {unseen}"


@pytest.fixture
def keys(plant: Furnished) -> Iterator[Keys]:
    yield Keys(plant.person)


def test_a_group_is_made_and_given_a_certificate(plant: Furnished, keys: Keys) -> None:
    plant.hub.moorage("cert", "root", "keyboard-root", cwd=plant.folder)
    keys.open("/groups")
    keys.enter("link", "+ New")
    keys.sees_heading("New device connection group")
    keys.skip()
    keys.types("Name", "By keyboard")
    keys.to("radio", "IoT devices")
    keys.press("ArrowDown")
    keys.press("ArrowUp")
    keys.enter("button", "Save")
    keys.sees_heading("By keyboard")
    keys.skip()
    keys.enter("link", "Manage primary")
    keys.sees_heading("Primary certificate")
    keys.skip()
    keys.forward(keys.page.get_by_label("Root or intermediate certificate"))
    with keys.page.expect_file_chooser() as chosen:
        keys.press("Space")
    chosen.value.set_files(plant.folder / "keyboardRoot_cert.pem")
    keys.forward(keys.page.get_by_label("Set certificate status to verified on upload"))
    keys.press("Space")
    keys.enter("button", "Add certificate")
    keys.person.sees("Verified")


def test_a_device_is_made_and_its_connect_dialog_read(keys: Keys) -> None:
    keys.open("/devices")
    keys.enter("link", "+ New")
    keys.sees_heading("New device")
    keys.skip()
    keys.types("Device name", "Typed pump")
    keys.types("Device ID", "typed-01")
    keys.enter("button", "Create")
    keys.sees_heading("Typed pump")
    keys.skip()
    keys.enter("link", "Connect")
    keys.sees_heading("Connect")
    keys.skip()
    keys.chooses("Authentication type", "Individual enrollment")
    expect(keys.page.get_by_label("Authentication method", exact=True)).to_be_visible(timeout=PATIENCE_MS)


def test_a_device_that_waits_is_approved(keys: Keys) -> None:
    keys.open(f"/devices/{WAITING}")
    keys.enter("button", "Approve")
    keys.person.sees("Registered")


def test_a_command_is_run(keys: Keys) -> None:
    keys.open(f"/devices/{PUMPS[0]}/views/commands")
    keys.enter("button", "Run")
    keys.person.sees("done")


def test_a_tile_is_put_on_a_dashboard_and_made_wider(keys: Keys) -> None:
    keys.open("/dashboards/new")
    keys.types("Name", "By keyboard")
    keys.enter("button", "Create")
    keys.sees_heading("Edit By keyboard")
    for text in ("First", "Second"):
        keys.skip()
        keys.enter("button", "Label")
        keys.person.page.get_by_label("Text").wait_for()
        keys.skip()
        keys.types("Text", text)
        keys.enter("button", "Save")
        keys.sees_heading("Edit By keyboard")
    keys.skip()
    wider = keys.page.get_by_role("button", name="Wider")
    keys.forward(wider)
    for width in ("5", "6"):
        # The focus stays where it is, though the board comes anew.
        keys.press("Enter")
        expect(keys.page.locator(".tile").filter(has_text="First")).to_have_attribute("data-width", width)
        keys.person.waits()
        expect(wider.first).to_be_focused()


def test_a_rule_is_made(keys: Keys) -> None:
    keys.open("/rules/new")
    keys.types("Name", "Typed rule")
    keys.chooses("Device template", "Pump")
    keys.types("Telemetry of condition 1", "pressure", "combobox")
    keys.chooses("Comparison of condition 1", "is greater than")
    keys.types("Value of condition 1", "9")
    keys.chooses("Kind of action 1", "Webhook")
    keys.types("Name of action 1", "Tell the desk")
    keys.types("Callback URL of action 1", "https://127.0.0.1:9/in")
    keys.enter("button", "Save")
    keys.sees_heading("Typed rule")


def test_what_opens_closes_by_escape_and_gives_the_focus_back(keys: Keys) -> None:
    keys.open(f"/devices/{PUMPS[0]}")
    summary = keys.forward(keys.page.locator("summary").filter(has_text="Manage device"))
    menu = keys.page.locator("details").filter(has=summary)
    keys.press("Enter")
    expect(menu).to_have_attribute("open", "")
    keys.to("link", "Name and organization")
    keys.press("Escape")
    expect(menu).not_to_have_attribute("open", "")
    expect(summary).to_be_focused()

    keys.open("/devices")
    keys.to("checkbox", "Select the devices of this page")
    keys.press("Space")
    button = keys.to("button", "Delete")
    keys.press("Enter")
    sheet = keys.page.locator("#to-delete")
    expect(sheet).to_be_visible()
    keys.to("button", "Cancel")
    keys.press("Escape")
    expect(sheet).to_be_hidden()
    expect(button).to_be_focused()

    keys.press("/")
    expect(keys.page.get_by_role("searchbox", name="Search", exact=True)).to_be_focused()


@pytest.mark.parametrize("path", ["/devices", f"/devices/{PUMPS[0]}", "/dashboards/pumps/edit", "/explorer"])
def test_tab_leads_through_a_page_and_out_of_it(keys: Keys, path: str) -> None:
    keys.person.open(path)
    keys.person.waits()
    first = keys.page.get_by_role("link", name="Skip to the content")
    keys.press("Tab")
    expect(first).to_be_focused(timeout=PATIENCE_MS)
    for _ in range(_MOST):
        keys.press("Tab")
        if keys.page.evaluate("document.activeElement === document.body") or keys.has_focus(first):
            return
        keys.looks()
    raise AssertionError("Tab does not come out of it")
