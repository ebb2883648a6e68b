"""Which members of a resource that is written back ask for something else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.dialects.arm_members import check_fixed, differs, if_match_of, unknown_members
from moorage.errors import Invalid

SHOWN: dict[str, Any] = {
    "mode": "Enabled",
    "count": 4,
    "flag": True,
    "off": False,
    "ttl": "PT1H",
    "none": None,
    "empty": {},
    "list": [{"a": 1}, {"a": 2}],
    "nested": {"deep": {"text": "x"}},
}

_leaf = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
_json = st.recursive(_leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


@given(_json)
def test_what_is_written_back_as_it_was_shown_asks_for_nothing(value: Any) -> None:
    assert not differs(value, value)


@given(_json)
def test_null_asks_for_nothing_whatever_is_there(shown: Any) -> None:
    assert not differs(None, shown)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("mode", "enabled"),
        ("ttl", "PT60M"),
        ("ttl", "PT3600S"),
        ("ttl", "P0DT1H"),
        ("off", None),
        ("none", False),
        ("none", ""),
        ("empty", {"a": "", "b": [], "c": {"d": None}}),
        ("nested", {"deep": {}}),
        ("nested", {"deep": {"text": "X"}}),
        ("list", [{"a": 1}, {}]),
    ],
)
def test_the_same_in_other_words_is_the_same(member: str, value: Any) -> None:
    assert not differs(value, SHOWN[member])


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("mode", "Disabled"),
        ("mode", 1),
        ("mode", ""),
        ("count", 5),
        ("count", True),
        ("flag", False),
        ("flag", 1),
        ("off", True),
        ("ttl", "PT2H"),
        ("ttl", "P1H"),
        ("none", "x"),
        ("empty", {"a": 1}),
        ("list", []),
        ("list", [{"a": 1}]),
        ("list", [{"a": 1}, {"a": 3}]),
        ("list", {"a": 1}),
        ("nested", {"deep": {"text": "x", "more": 1}}),
        ("nested", "x"),
    ],
)
def test_something_else_is_something_else(member: str, value: Any) -> None:
    assert differs(value, SHOWN[member])
    with pytest.raises(Invalid, match=rf"p\.{member}.*because") as caught:
        check_fixed({member: value}, SHOWN, "p.", free=(), why={member: "because"})
    assert caught.value.reason == "resource.fixed"
    check_fixed({member: value}, SHOWN, "p.", free={member}, why={})


def test_secrets_are_not_repeated() -> None:
    for name in ("primaryKey", "connectionString"):
        with pytest.raises(Invalid) as caught:
            check_fixed({"e": {name: "hunter2"}}, {"e": {name: "hunter1"}}, "", free=(), why={})
        assert "hunter" not in str(caught.value)


def test_members_that_nobody_knows_are_named_when_they_hold_something() -> None:
    given_members = {"known": 1, "new": {"a": 1}, "nothing": None, "off": False, "x" * 100: 1}
    assert unknown_members(given_members, {"known"}, "p.") == ["p.new", ("p." + "x" * 100)[:60]]


@pytest.mark.parametrize(
    ("header", "body", "etag"),
    [
        (None, {}, None),
        (None, {"etag": "abc="}, "abc="),
        (None, {"etag": '"abc="'}, "abc="),
        (None, {"etag": None}, None),
        ("*", {"etag": "abc="}, None),
        ('"def="', {"etag": "abc="}, "def="),
        ("{'IF-MATCH': 'def='}", {"etag": "abc="}, "def="),
        ("{'IF-MATCH': None}", {}, None),
    ],
)
def test_the_header_goes_before_the_body(header: str | None, body: dict[str, Any], etag: str | None) -> None:
    assert if_match_of(header, body) == etag


def test_an_etag_that_is_no_text_is_refused() -> None:
    with pytest.raises(Invalid):
        if_match_of(None, {"etag": 5})
