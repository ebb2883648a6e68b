"""What is drawn and written into a tile, without a hub."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.analytics.explorer import Measure, Question
from moorage.web.drawings import Point, map_of, pie_of
from moorage.web.explorer import number_text, parse_question, query_of, step_text
from moorage.web.markdown import markdown


@given(st.lists(st.floats(-10, 1e12), max_size=12))
def test_a_pie_has_a_part_for_each_value_above_zero(values: list[float]) -> None:
    drawn = ElementTree.fromstring(pie_of(values))
    assert len(drawn) == sum(value > 0 for value in values)


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=20))
def test_every_point_is_on_the_map(places: list[tuple[float, float]]) -> None:
    drawn = ElementTree.fromstring(map_of([Point("<pump>", *place) for place in places]))
    points = [each for each in drawn if each.tag == "circle"]
    assert len(points) == len(places)
    assert all(0 <= float(each.attrib["cx"]) <= 400 and 0 <= float(each.attrib["cy"]) <= 240 for each in points)
    # A few lines of latitude and longitude, wherever that is.
    assert sum(each.tag == "path" for each in drawn) < 60


@pytest.mark.parametrize(
    ("text", "html"),
    [
        (
            "# One\n\ntwo **three** *four* `five*`",
            "<h3>One</h3><p>two <strong>three</strong> <em>four</em> <code>five*</code></p>",
        ),
        ("- a\n- b\n1. c", "<ul><li>a</li><li>b</li></ul><ol><li>c</li></ol>"),
        ("a\nb", "<p>a<br>b</p>"),
        ("[x](https://a.example/?b&c)", '<p><a href="https://a.example/?b&amp;c" rel="noopener noreferrer">x</a></p>'),
        ("[x](/groups)", '<p><a href="/groups" rel="noopener noreferrer">x</a></p>'),
        ("[x](javascript:alert)", "<p>[x](javascript:alert)</p>"),
        ("[x](//evil.example)", "<p>[x](//evil.example)</p>"),
        ('[x](https://a"onclick=1)', '<p><a href="https://a&#34;onclick=1" rel="noopener noreferrer">x</a></p>'),
        ("<b>&", "<p>&lt;b&gt;&amp;</p>"),
        ("`<i>` **<u>**", "<p><code>&lt;i&gt;</code> <strong>&lt;u&gt;</strong></p>"),
    ],
)
def test_a_small_part_of_markdown_is_read(text: str, html: str) -> None:
    assert markdown(text) == html


@given(st.text(alphabet="ab<>&\"'*`[]()/:# -1.\n", max_size=80))
def test_no_text_becomes_markup_that_is_not_ours(text: str) -> None:
    html = markdown(text)
    ElementTree.fromstring(f"<div>{html}</div>".replace("<br>", "<br/>"))
    assert set(re.findall(r"</?([a-z0-9]+)", html)) <= {
        "p",
        "br",
        "h3",
        "h4",
        "h5",
        "ul",
        "ol",
        "li",
        "code",
        "strong",
        "em",
        "a",
    }


@pytest.mark.parametrize(
    "question",
    [
        Question(),
        Question(
            group="all-x", measures=(Measure("", "t"), Measure("motor", "speed", "maximum")), by="$id", minutes=60
        ),
        Question(devices=("a", "b#c"), measures=(Measure("", "a/b:c"), Measure("@m.c", "x.y", "count")), step=15),
        Question(group="g", axes="stacked", by="site & co"),
    ],
)
def test_an_address_asks_what_it_was_made_of(question: Question) -> None:
    assert parse_question(query_of(question)) == question


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (None, None, ""),
        (3.0, None, "3"),
        (1234567.0, None, "1,234,567"),
        (0.123456, None, "0.1235"),
        (98765.4321, None, "98,765.4"),
        (2.5, 0, "2"),
        (2.0, 2, "2.00"),
    ],
)
def test_a_number_has_the_digits_that_say_something(value: float | None, decimals: int | None, text: str) -> None:
    assert number_text(value, decimals) == text


def test_a_step_is_told_in_its_unit() -> None:
    assert [step_text(each) for each in (5, 60, 90, 1440)] == ["5 min", "1 h", "90 min", "1 d"]
