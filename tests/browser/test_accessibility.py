"""Every page that somebody can open, in both themes, as narrow as a phone, with all that unfolds unfolded."""

from __future__ import annotations

import re
from typing import Any, Final

from playwright.sync_api import Browser, Page, expect

from moorage.web.pages import segment
from tests.browser.accessibility import Issues, issues_of
from tests.browser.furniture import DRAFT, GATEWAY, VALVE, VALVE_MODEL, WAITING, WIDE, Furnished
from tests.browser.pages import PATIENCE_MS, THEMES, signed_in
from tests.browser.plant import PUMPS

_PARAMETER: Final = re.compile(r"\{(\w+)(?::path)?\}")
_PHONE: Final = {"width": 400, "height": 800}
_STANDING_OUT: Final = """() => [...document.querySelectorAll("main *")]
    .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
    .slice(0, 3).map((each) => `${each.tagName}.${each.className} ${each.textContent.trim().slice(0, 40)}`)"""
# Menus lie over what is below them, so they are looked at one by one.
_MENUS: Final = "main :is(details.drop, details.chooser, details.menu)"
_UNFOLD: Final = f"""() => {{
    const menus = [...document.querySelectorAll("{_MENUS}")];
    for (const each of document.querySelectorAll("main details")) each.open = !menus.includes(each);
}}"""
_SEND_EMPTY: Final = """() => {
    const forms = [...document.querySelectorAll("main form[method=post]")];
    const form = forms.find((each) => each.querySelector("button.primary"));
    form.noValidate = true;
    const typed = "input:not([type=hidden], [type=radio], [type=checkbox]), textarea";
    for (const field of form.querySelectorAll(typed)) field.value = "";
    form.requestSubmit(form.querySelector("button.primary"));
}"""

_PART: Final = "a part, which the page that holds it loads"
_FILE: Final = "a file to keep"
# What ends like a file is one: to keep, or of the application.
_IS_FILE: Final = re.compile(r"\.[a-z]+$")
# What else is answered with something that nobody looks at as a page.
NOT_LOOKED_AT: Final = {
    "/static/{version}/{name:path}": "a file of the application",
    "/dashboards/images/{image_id}": "a picture that somebody chose",
    "/sign-in/sso": "leads to another server",
    "/sign-in/sso/back": "comes from another server",
    "/device-operations/panel": _PART,
    "/device-export": _FILE,
    "/devices/{device_id}/data/live": "a stream of events",
    "/devices/{device_id}/live": "a stream of events",
    "/devices/{device_id}/data/{offset}/body": _FILE,
    "/devices/{device_id}/series": "values of a chart",
    "/devices/{device_id}/files/content": _FILE,
    "/calendar/{user_id}/{token}": "for calendar programs",
    "/device-templates/{template_id}/export": _FILE,
    "/groups/{group_id}/{slot}/state": _PART,
    "/rules/{rule_id}/history": _PART,
    "/exports/{export_id}/health": _PART,
    "/jobs/{job_id}/progress": _PART,
    "/device-groups/{group_id}/devices": _PART,
    "/dashboards/{board_id}/live": "a stream of events",
    "/dashboards/{board_id}/tiles/{tile_id}": _PART,
}
# What a page has to be asked besides.
ASKED: Final = {
    "/certificates/ending": "?month=expired",
    "/device-templates/{template_id}/capability": f"?interface={VALVE_MODEL}&kind=telemetry",
}
# For whoever is not signed in.
AT_THE_DOOR: Final = ("/sign-in", "/sign-in/link/{token}")
# The same pages about something else: they look different there.
ALSO: Final = (
    "/devices?q=nothing",
    "/attempts?only=refused",
    "/audit?days=1&q=none",
    "/search?q=pump",
    "/search?q=nothing",
    f"/devices/{VALVE}",
    f"/devices/{VALVE}/views/writable",
    f"/devices/{WAITING}",
    f"/devices/{GATEWAY}/manifest",
    f"/devices/{GATEWAY}/modules",
    f"/devices/{PUMPS[0]}/views/about",
    f"/devices/{PUMPS[0]}/views/writable",
    f"/devices/{PUMPS[0]}/views/commands",
    f"/device-templates/{DRAFT}",
    f"/device-templates/{DRAFT}/capability?interface={VALVE_MODEL}&name=limits",
    f"/device-templates/{DRAFT}/capability?interface={VALVE_MODEL}&name=close",
    "/groups/pumps/secondary",
    "/explorer?group=all-plant-pumpTemplate-1&s=temperature:average&by=$id",
    "/dashboards/pumps/edit",
    "/dashboards/default",
    "/certificates/rehearsal?group=pumps&slot=primary",
)


def path_of(plant: Furnished, pattern: str) -> str:
    names = dict(plant.found)
    if pattern.startswith("/device-groups"):
        names["group_id"] = "running-pumps"
    if pattern.endswith("/manifest"):
        names["device_id"] = GATEWAY
    if pattern.endswith(("/model", "/names", "/modules", "/capability", "/publish")) and "template_id" in pattern:
        names["template_id"] = DRAFT
    unknown = set(_PARAMETER.findall(pattern)) - set(names)
    assert not unknown, f"{pattern}: give the furniture a {unknown}, or say why nobody looks at this"
    return _PARAMETER.sub(lambda name: segment(names[name[1]]), pattern) + ASKED.get(pattern, "")


def test_no_page_has_an_issue_of_accessibility_or_is_wider_than_a_phone(plant: Furnished) -> None:
    person = plant.person
    pages = [each for each in plant.patterns if not _IS_FILE.search(each)]
    patterns = [each for each in pages if each not in NOT_LOOKED_AT and each not in AT_THE_DOOR]
    assert len(patterns) > 60
    assert not set(NOT_LOOKED_AT) - set(plant.patterns), "there is no such page any more"
    found: list[str] = []
    for path in (*(path_of(plant, each) for each in patterns), *ALSO):
        person.open(path)
        found += _looked_at(person.page, path)
    assert not found, "\n".join(found)


def test_a_form_that_is_sent_back_has_none_either(plant: Furnished) -> None:
    person = plant.person
    found: list[str] = []
    forms = [path_of(plant, each) for each in plant.patterns if each.endswith("/new")]
    assert len(forms) > 7
    capability = path_of(plant, "/device-templates/{template_id}/capability")
    for path in (*forms, "/profile", capability):
        person.open(path)
        person.page.evaluate(_SEND_EMPTY)
        told = person.page.locator("main").locator("[role=alert], [aria-invalid=true]").first
        expect(told, path).to_be_visible(timeout=PATIENCE_MS)
        found += _looked_at(person.page, f"{path}, sent empty")
    assert not found, "\n".join(found)


def test_menus_have_none(plant: Furnished) -> None:
    person = plant.person
    found: list[str] = []
    for path in ("/dashboards/pumps", f"/devices/{PUMPS[0]}", f"/devices/{PUMPS[0]}/data"):
        person.open(path)
        menus = person.page.locator(f".bar details, {_MENUS}")
        assert menus.count() > 3
        for menu in menus.all():
            menu.locator("summary").click()
            person.waits()
            found += [f"{path}, {menu.inner_text()}: {each}" for each in issues_of(person.page, Issues.ALL, menu)]
            menu.locator("summary").click()
    person.page.set_viewport_size(_PHONE)  # type: ignore[arg-type]  # a literal of the right shape
    person.page.get_by_role("button", name="Menu").click()
    found += [f"the pane: {each}" for each in issues_of(person.page, Issues.ALL, person.page.locator("#pane"))]
    person.page.set_viewport_size(WIDE)  # type: ignore[arg-type]  # as above
    assert not found, "\n".join(found)


def test_an_operator_and_a_stranger_find_none(browser: Browser, plant: Furnished) -> None:
    found: list[str] = []
    with signed_in(browser, plant.hub, "olga", "light", role="operator", viewport=WIDE) as operator:
        operator.open("/")
        links = operator.page.get_by_role("navigation", name="Pages").get_by_role("link")
        paths = sorted({str(link.get_attribute("href")) for link in links.all()})
        assert len(paths) > 4
        for path in (*paths, f"/devices/{PUMPS[0]}", f"/devices/{PUMPS[0]}/views/commands"):
            operator.open(path)
            found += [f"as operator, {each}" for each in _looked_at(operator.page, path)]
        operator.page.goto(operator.origin + "/users")
        found += _looked_at(operator.page, "a page that is not for operators")
    link = str(plant.hub.ask("user", "invite", "nina", "--role", "operator")[0]["link"])
    context = browser.new_context(ignore_https_errors=True, viewport=WIDE)  # type: ignore[arg-type]  # as above
    try:
        page = context.new_page()
        for path in (link, link + "x", f"{plant.person.origin}/sign-in"):
            page.goto(path)
            found += _looked_at(page, path.removeprefix(plant.person.origin))
    finally:
        context.close()
    assert not found, "\n".join(found)


def _looked_at(page: Page, what: str) -> list[str]:
    """What is wrong with the page that is open; it is left as a large screen has it, by day."""
    expect(page.locator(".htmx-request")).to_have_count(0, timeout=PATIENCE_MS)
    found: list[Any] = [] if page.locator("h1").count() == 1 else ["it has not one heading of its own"]
    page.set_viewport_size(_PHONE)  # type: ignore[arg-type]  # a literal of the right shape
    width = page.evaluate("document.documentElement.scrollWidth")
    if width > _PHONE["width"]:
        found.append(f"{width} px wide on a phone: {page.evaluate(_STANDING_OUT)}")
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]  # as above
    page.evaluate(_UNFOLD)
    found += issues_of(page, Issues.ALL)
    # Colours alone differ by night, and those of the frame are the same on every page.
    page.emulate_media(color_scheme=THEMES[1])
    found += [f"by night, {each}" for each in issues_of(page, Issues.COLOURS, page.locator("main"))]
    page.emulate_media(color_scheme=THEMES[0])
    return [f"{what}: {each}" for each in found]
