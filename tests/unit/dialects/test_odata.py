"""`$filter` and `$orderby` of lists: what they find, what they refuse, and what is told to the store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.dialects.odata import Order, parse_filter, parse_order
from moorage.errors import Invalid

FIELDS = ("id", "displayName", "enabled", "template", "scopes", "count")
PUMP = {
    "id": "pump-01",
    "displayName": "Pump in O'Hara's hall",
    "enabled": True,
    "template": None,
    "scopes": ("north",),
    "count": 3,
}


def matches(text: str) -> bool:
    return parse_filter(text, FIELDS).matches(PUMP)


@pytest.mark.parametrize(
    "text",
    [
        "id eq 'pump-01'",
        "id ne 'PUMP-01'",
        "displayName eq 'Pump in O''Hara''s hall'",
        "enabled eq true",
        "enabled",
        "not (enabled eq false)",
        "template eq null",
        "scopes eq 'north'",
        "scopes ne 'south'",
        "count gt 2 and count le 3.0",
        "id gt 'pump-00' and id lt 'pump-02'",
        "contains(displayName, 'HALL')",
        "contains(displayName, 'cellar') eq false",
        "indexof(displayName, 'pump') eq 0",
        "indexof(displayName, 'valve') eq -1",
        "startswith(id,'pump') and endswith(id,'01')",
        "id eq 'x' or id eq 'pump-01' and enabled eq true",
        "(id eq 'x' or id eq 'pump-01') and enabled eq true",
        "id eq 'pump-01' or id eq 'x' and enabled eq false",
        "not not enabled",
    ],
)
def test_what_matches(text: str) -> None:
    assert matches(text)


@pytest.mark.parametrize(
    "text",
    [
        "id eq 'pump-02'",
        "enabled eq 'true'",
        "enabled eq 1",
        "id lt 3",
        "id",
        "count eq true",
        "(id eq 'x' or id eq 'pump-01') and enabled eq false",
        "contains(template, 'x')",
        "not contains(displayName, 'hall')",
    ],
)
def test_what_does_not_match(text: str) -> None:
    assert not matches(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "at its end"),
        ("id eq", "at its end"),
        ("id eq 'x", "character 7"),
        ("colour eq 'red'", "character 1, 'colour'"),
        ("id eq 'x' id", "character 11"),
        ("(id eq 'x'", "at its end"),
        ("contains(id)", "character 12"),
        ("contains(id, 'x'", "at its end"),
        ("id eq 'x' and", "at its end"),
        ("id = 'x'", "character 4"),
        ("id eq 'x'; drop", "character 10"),
        ("eq eq 'x'", "character 1"),
    ],
)
def test_what_cannot_be_read_is_told_by_its_place(text: str, place: str) -> None:
    with pytest.raises(Invalid, match=r"odata\.filter") as refused:
        parse_filter(text, FIELDS)
    assert place in refused.value.message


@pytest.mark.parametrize("text", ["(" * 40 + "enabled" + ")" * 40, "not " * 40 + "enabled", "id " * 500, "x" * 5000])
def test_what_is_too_deep_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"odata\.filter"):
        parse_filter(text, FIELDS)


@pytest.mark.parametrize(
    ("text", "equal"),
    [
        ("template eq 'a'", {"template": "a"}),
        ("template eq 'a' and enabled eq true", {"template": "a"}),
        ("(template eq 'a' and (enabled)) and id gt 'x'", {"template": "a"}),
        ("template eq 'a' or enabled eq true", {}),
        ("(template eq 'a' or template eq 'b') and id eq 'x'", {"id": "x"}),
        ("not template eq 'a'", {}),
        ("template ne 'a'", {}),
        ("(template eq 'a') eq false", {}),
    ],
)
def test_only_what_every_match_has_is_told_to_the_store(text: str, equal: dict[str, str]) -> None:
    assert parse_filter(text, FIELDS).equal == equal


@given(st.text(alphabet="()', andorteqix10", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_filter(text, FIELDS).matches(PUMP)
    except Invalid as refusal:
        assert refusal.reason == "odata.filter"


def test_orders() -> None:
    assert parse_order("displayName", FIELDS) == Order("displayName", is_descending=False)
    assert parse_order(" id desc ", FIELDS) == Order("id", is_descending=True)
    for text in ("colour", "id up", "", "id desc, count"):
        with pytest.raises(Invalid, match=r"odata\.orderby"):
            parse_order(text, FIELDS)
