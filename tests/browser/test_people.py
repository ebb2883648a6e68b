"""Who sees what, and what is written down of it: PC-22, PC-23."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Browser, expect

from tests.browser.pages import Person, signed_in
from tests.browser.test_enrollments import new_device
from tests.e2e.node.workshop import Workshop

NewName = Callable[[str], str]


def new_organization(person: Person, name: str) -> None:
    person.open("/organizations/new")
    person.fill("Name", name)
    person.page.get_by_label("ID small letters").fill(name)
    person.press("Save")
    person.sees(name)


def test_pc_22_a_user_of_one_organization_sees_no_device_of_another(
    person: Person, browser: Browser, workshop: Workshop, new_name: NewName
) -> None:
    ours, theirs, login = new_name("ours"), new_name("theirs"), new_name("guest")
    own, sibling = new_name("own-pump"), new_name("sibling-pump")
    for organization, device_id in ((ours, own), (theirs, sibling)):
        new_organization(person, organization)
        person.open("/devices/new")
        person.fill("Device ID", device_id)
        person.page.get_by_label("Organization", exact=True).select_option(organization)
        person.press("Create")
        person.sees_heading(device_id)
    with signed_in(browser, workshop.hub, login, person.theme) as guest:
        # Fifty are on a page; this one begins close before them.
        person.open(f"/users?after={login[:-1]}")
        row = person.page.get_by_role("row").filter(has_text=login)
        row.get_by_label(f"Role of {login}", exact=True).select_option(label="Org Operator")
        row.get_by_label(f"Organization of {login}").select_option(ours)
        row.get_by_role("button", name=f"Change the role of {login}").click()
        person.sees_heading("Users")
        guest.open("/devices")
        guest.sees(own)
        guest.sees_not(sibling)
        guest.open(f"/devices?q={sibling}")
        guest.sees_not(sibling)
        answer = guest.page.goto(f"{guest.origin}/devices/{sibling}")
        assert answer is not None and answer.status == 404
        guest.open(f"/search?q={sibling}")
        expect(guest.page.get_by_role("link", name=sibling)).to_have_count(0)


def test_pc_23_every_act_is_in_the_audit_log_with_who_did_it(person: Person, new_name: NewName) -> None:
    device_id = new_name("audited")
    new_device(person, device_id)
    person.page.get_by_text("Manage device").click()
    person.press("Block")
    person.sees("Blocked")
    person.page.get_by_text("Manage device").click()
    person.press("Delete")
    person.page.wait_for_url("**/devices*")
    person.open(f"/audit?q={device_id}")
    login = person.page.get_by_role("banner").inner_text()
    for act in ("registered", "blocked", "deleted"):
        row = person.page.get_by_role("row").filter(has_text=device_id).filter(has_text=act).first
        expect(row).to_be_visible()
        assert "ada-" in row.inner_text() and "ada-" in login
