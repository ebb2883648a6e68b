"""A person at a browser: signed in, in one of the two themes, who reads labels and never looks into the markup."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.hubs import Hub

__all__ = ["PASSWORD", "PATIENCE_MS", "THEMES", "Person", "Theme", "signed_in"]

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
# A machine that runs a hub, a browser and SDKs at once may take its time.
PATIENCE_MS = 30_000
PASSWORD = "a word that nobody guesses"


class Person:
    """Whoever sits there. What is asked for by a label is looked for as a screen reader would."""

    def __init__(self, page: Page, origin: str, theme: Theme) -> None:
        self.page = page
        self.origin = origin
        self.theme = theme
        # What the browser complained of: errors of scripts, what the content policy stopped, pages that failed.
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: self._hears(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())

    def _hears(self, kind: str, text: str) -> None:
        # A form that is answered with 400 and says why is as it should be.
        if kind == "error" and "responded with a status of 4" not in text:
            self.complaints.append(text)

    def open(self, path: str) -> None:
        answer = self.page.goto(self.origin + path)
        assert answer is not None and answer.ok, f"{path}: {answer and answer.status}"

    def go(self, *entries: str) -> None:
        """Through the pane at the left: `go("Permissions", "Device connection groups")`."""
        pane = self.page.get_by_role("navigation", name="Pages")
        pane.get_by_role("link", name=entries[-1], exact=True).click()
        self.sees_heading(entries[-1])

    def press(self, label: str, *, within: Locator | None = None) -> None:
        """A button, a link that looks like one, or a tab."""
        place = within or self.page.get_by_role("main")
        place.get_by_role("button", name=label, exact=True).or_(
            place.get_by_role("link", name=label, exact=True)
        ).first.click()

    def fill(self, label: str, text: str) -> None:
        self.page.get_by_label(label, exact=True).fill(text)

    def choose(self, label: str) -> None:
        """A radio button, a box or a switch."""
        self.page.get_by_label(label, exact=True).check()

    def select(self, label: str, option: str) -> None:
        self.page.get_by_label(label, exact=True).select_option(label=option)
        self.waits()

    def waits(self) -> None:
        """Until nothing of the page is under way: a part that comes late would take away what is typed meanwhile.

        A part that has just come is none of the page yet: its forms would be sent as where there are no scripts.
        """
        expect(self.page.locator(".htmx-request, .htmx-added")).to_have_count(0, timeout=PATIENCE_MS)

    def upload(self, label: str, file: Path) -> None:
        self.page.get_by_label(label).set_input_files(file)

    def sees(self, text: str) -> None:
        expect(self.page.get_by_role("main").get_by_text(text).first).to_be_visible(timeout=PATIENCE_MS)

    def sees_heading(self, text: str) -> None:
        expect(self.page.get_by_role("heading", name=text).first).to_be_visible(timeout=PATIENCE_MS)

    def sees_not(self, text: str) -> None:
        expect(self.page.get_by_role("main").get_by_text(text)).to_have_count(0, timeout=PATIENCE_MS)

    def refused(self) -> str:
        """What the page says is wrong."""
        alert = self.page.get_by_role("alert").first
        expect(alert).to_be_visible(timeout=PATIENCE_MS)
        return alert.inner_text()

    def screenshot(self, file: Path) -> None:
        self.page.screenshot(path=file, full_page=False)


@contextmanager
def signed_in(
    browser: Browser, hub: Hub, login: str, theme: Theme, *, role: str = "administrator", **context: Any
) -> Iterator[Person]:
    """Invite somebody by the command line, choose a password in the browser, and be there.

    At the end, the browser must have had nothing to complain of.
    """
    link = str(hub.ask("user", "invite", login, "--role", role)[0]["link"])
    with _context(browser, hub, theme, **context) as opened:
        person = Person(opened.new_page(), f"https://{hub.hostname}:{hub.info.web_port}", theme)
        person.page.goto(link)
        person.page.get_by_label("Password").fill(PASSWORD)
        person.fill("The same again", PASSWORD)
        person.press("Keep it", within=person.page.locator("body"))
        person.page.wait_for_url(f"{person.origin}/**")
        yield person
        assert not person.complaints, person.complaints


@contextmanager
def _context(browser: Browser, hub: Hub, theme: Theme, **more: Any) -> Iterator[BrowserContext]:
    # Playwright cannot be told of one root alone: that the hub's chain is good is proven by every other client.
    context = browser.new_context(ignore_https_errors=True, color_scheme=theme, **more)
    try:
        yield context
    finally:
        context.close()
