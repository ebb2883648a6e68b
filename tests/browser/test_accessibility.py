"""Every page that opens from the pane, in both themes and as narrow as a phone."""

from __future__ import annotations

from tests.browser.accessibility import serious_issues
from tests.browser.pages import Person

_PHONE = {"width": 400, "height": 800}
_WIDEST = """() => [...document.querySelectorAll("main *")]
    .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
    .slice(0, 3).map((each) => `${each.tagName}.${each.className} ${each.textContent.trim().slice(0, 40)}`)"""


def test_no_page_has_a_serious_issue_of_accessibility(person: Person) -> None:
    person.open("/")
    links = person.page.get_by_role("navigation", name="Pages").get_by_role("link")
    paths = {str(link.get_attribute("href")) for link in links.all()}
    assert len(paths) > 4
    issues: list[str] = []
    for path in sorted(paths):
        person.open(path)
        issues += [f"{path}: {issue}" for issue in serious_issues(person.page)]
    assert not issues, "\n".join(issues)


def test_on_a_phone_no_page_is_wider_than_the_screen(person: Person) -> None:
    person.open("/")
    links = person.page.get_by_role("navigation", name="Pages").get_by_role("link")
    paths = sorted({str(link.get_attribute("href")) for link in links.all()})
    person.page.set_viewport_size(_PHONE)  # type: ignore[arg-type]  # a literal of the right shape
    wide: list[str] = []
    for path in paths:
        person.open(path)
        width = person.page.evaluate("document.documentElement.scrollWidth")
        if width > _PHONE["width"]:
            wide.append(f"{path}: {width} px, {person.page.evaluate(_WIDEST)}")
    assert not wide, wide
