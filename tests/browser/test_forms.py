"""What forms do in a browser beside what the server answers: focus, two clicks, and a sign-in that ended."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.pages import PASSWORD, PATIENCE_MS, Person

NewName = Callable[[str], str]


def test_what_is_wrong_has_the_focus_and_the_sentence_describes_it(person: Person) -> None:
    person.open("/organizations/new")
    person.fill("Name", "West")
    person.page.get_by_label("ID small letters").fill("-West")
    person.press("Save")
    field = person.page.get_by_label("ID small letters")
    expect(field).to_be_focused(timeout=PATIENCE_MS)
    expect(field).to_have_value("-West")
    expect(field).to_have_accessible_description(re.compile(re.escape(person.refused())))


def test_two_clicks_are_one_form(person: Person, new_name: NewName) -> None:
    sent: list[str] = []
    person.page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    person.open("/dashboards/new")
    person.fill("Name", new_name("twice"))
    person.page.get_by_role("button", name="Create").dblclick()
    person.page.wait_for_url("**/edit", timeout=PATIENCE_MS)
    assert len(sent) == 1


def test_what_was_typed_comes_back_after_the_sign_in_ended(person: Person, new_name: NewName) -> None:
    name = new_name("kept")
    login = person.page.get_by_role("banner").get_by_text("ada-").first.inner_text().split()[0]
    person.open("/dashboards/new")
    person.fill("Name", f'{name} "& more"')
    person.page.context.clear_cookies(name="__Host-moorage")
    person.press("Create")
    person.sees_heading("Sign in again")
    person.fill("Name or e-mail", login)
    person.fill("Password", PASSWORD)
    person.press("Sign in")
    expect(person.page.get_by_label("Name", exact=True)).to_have_value(f'{name} "& more"', timeout=PATIENCE_MS)
    person.sees("You were signed out before this was sent")
    person.press("Create")
    person.sees_heading(name)


def test_a_page_with_something_typed_stays_where_it_is_when_the_sign_in_ended(person: Person) -> None:
    person.open("/device-groups/new")
    person.page.context.clear_cookies(name="__Host-moorage")
    person.fill("Name", "Kept group")
    person.sees("What you typed stays here")
    expect(person.page.get_by_label("Name", exact=True)).to_have_value("Kept group")
    # htmx says so too.
    assert {complaint.partition(" from ")[0] for complaint in person.complaints} <= {"Response Status Error Code 401"}
    person.complaints.clear()
