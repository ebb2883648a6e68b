"""Where a refusal is told on a page: beside the field that it is about, in the form that was sent, else on top."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from moorage.clock import SystemClock
from moorage.dialects.reasons import REASONS
from moorage.errors import Invalid, PreconditionFailed, Refusal
from moorage.web.forms import FIELDS, about, fields_meant
from moorage.web.rendering import Renderer
from tests.web.forms import Control, forms_of, said_at


def page_with(form: str, problem: Refusal | None, here: str = "/a", errors: dict[str, str] | None = None) -> str:
    environment = Renderer(SystemClock(), "hub", object)._environment
    template = environment.from_string("{% filter told(problem, errors) %}" + form + "{% endfilter %}")
    return template.render(visit=SimpleNamespace(here=here), problem=problem, errors=errors)


def control(page: str, name: str, action: str = "/a") -> Control:
    [form] = [each for each in forms_of(page) if each.action == action]
    return form.find(name)[0]


def test_a_field_is_marked_focused_and_followed_by_the_sentence() -> None:
    field = '<input id="i" name="n" value="a &gt; b" aria-describedby="hint"><b>rest</b>'
    form = f'<form method="post" action="/a">{field}</form>'
    page = page_with(form, Invalid("rule.name", "a name is too long", fix="moorage up", field="n"))
    found = control(page, "n")
    assert (found.text, found.attributes["aria-invalid"], "autofocus" in found.attributes) == ("a > b", "true", True)
    assert found.attributes["aria-describedby"] == "i-wrong hint"
    assert said_at(page, "i-wrong").startswith("A name is too long. Next: moorage up")
    assert page.index("i-wrong") < page.index("rest")
    assert 'class="problem"' not in page


def test_of_two_forms_with_such_a_field_it_is_the_one_that_was_sent() -> None:
    form = "".join(f'<form method="post" action="/{at}"><input name="name"></form>' for at in ("a", "b%3Bc"))
    page = page_with(form, Invalid("rule.name", "no"), here="/b;c")
    assert "aria-invalid" in control(page, "name", "/b;c").attributes
    assert "aria-invalid" not in control(page, "name").attributes


def test_what_it_lies_in_opens_and_nothing_else() -> None:
    form = (
        '<form method="post" action="/a"><details><summary>1</summary></details><details class="open x"><details open>'
        '<select name="n"><option>1</option></select></details></details></form>'
    )
    page = page_with(form, Invalid("a.b", "no", field="n"))
    assert control(page, "n").is_shown
    assert page.count("<details>") == 1
    assert page.count(" open>") == 2


@pytest.mark.parametrize(
    "form",
    [
        '<label><input type="checkbox" name="n"> <span>Tick</span></label>!',
        '<fieldset><label><input type="radio" name="n" value="1"></label><label>2</label></fieldset>',
        '<textarea name="n">\n&lt;form&gt; autofocus</textarea>!',
    ],
)
def test_the_sentence_stands_behind_all_that_belongs_to_the_field(form: str) -> None:
    page = page_with(f'<form method="post" action="/a">{form}</form>', Invalid("a.b", "no such thing", field="n"))
    assert control(page, "n").attributes["aria-describedby"] == "n-wrong"
    before, _, _ = page.partition('<span class="wrong"')
    assert before.count("<label") == before.count("</label>")
    assert before.count("<textarea") == before.count("</textarea>")


def test_what_was_typed_is_left_as_it_is_and_one_field_has_the_focus() -> None:
    form = (
        '<form method="post" action="/a"><input name="n" value="put autofocus here" autofocus>'
        '<textarea name="m">to autofocus > it</textarea><input name="o"></form>'
    )
    page = page_with(form, None, errors={"o": "it does not fit", "n": "nor does this"})
    assert [control(page, name).text for name in "nmo"] == ["put autofocus here", "to autofocus > it", ""]
    assert ["autofocus" in control(page, name).attributes for name in "nmo"] == [False, False, True]
    assert (said_at(page, "o-wrong"), said_at(page, "n-wrong")) == ("It does not fit.", "Nor does this.")


@pytest.mark.parametrize(
    "problem",
    [
        Invalid("rule.name", "no", field="gone"),
        Invalid("store.closed", "no"),
        PreconditionFailed("etag.stale", "it changed", field="n"),
    ],
)
def test_what_is_about_no_field_of_the_page_is_told_on_top(problem: Refusal) -> None:
    page = page_with(
        '<form method="post" action="/a"><input name="n"><input type="hidden" name="gone"></form>', problem
    )
    assert page.index('class="problem"') < page.index("<form")
    assert "aria-invalid" not in page
    assert page_with("<p>as it was</p>", None) == "<p>as it was</p>"


def test_whoever_reads_a_row_says_which_one_unless_that_is_known() -> None:
    with pytest.raises(Invalid) as first, about("value3"):
        raise Invalid("rule.conditions", "no")
    with pytest.raises(Invalid) as second, about("value3"), about("path3"):
        raise Invalid("rule.conditions", "no")
    assert [fields_meant(each.value) for each in (first, second)] == [("value3",), ("path3",)]
    assert fields_meant(Invalid("account.taken", "no")) == ("login",)


def test_fields_are_known_of_reasons_that_there_are() -> None:
    assert sorted(FIELDS.keys() - REASONS.keys()) == []
