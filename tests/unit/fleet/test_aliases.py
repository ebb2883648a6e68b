"""Mapped aliases: paths as people write them, and what they find in a message."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.errors import Invalid
from moorage.fleet.aliases import Alias, Path, encode_path, map_data, parse_alias, parse_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('$["Device"]["Temp"]', ("Device", "Temp")),
        ("$['Device']['Temp']", ("Device", "Temp")),
        ("$.Device.Temp", ("Device", "Temp")),
        (' $["readings"][0].value ', ("readings", 0, "value")),
        ('$["a\\"b"]["c.d"]', ('a"b', "c.d")),
        ('$[""]', ("",)),
    ],
)
def test_a_path_is_read_and_written_back(text: str, path: Path) -> None:
    assert parse_path(text) == path
    assert parse_path(encode_path(path)) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$",
        "Device.Temp",
        "$[*]",
        "$..a",
        "$.a[?(@.b)]",
        '$["a"',
        "$[1:2]",
        "$.",
        '$["a"] x',
        '$["' + "a" * 1000 + '"]',
    ],
)
def test_what_names_no_single_place_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_path(text)
    assert refused.value.reason == "alias.path"


@pytest.mark.parametrize("text", ["", "  ", "_x", "a" * 65, "a\nb"])
def test_what_cannot_be_an_alias_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_alias(text)


@pytest.mark.parametrize(
    ("body", "mapped"),
    [
        ({"Device": {"Temp": 21.5}, "readings": [1, 2]}, {"temperature": 21.5, "second": 2}),
        ({"Device": {"Temp": None}}, {"temperature": None}),
        ({"Device": 5, "readings": [1]}, {}),
        ([1, 2], {}),
        ("text", {}),
    ],
)
def test_what_is_there_is_found_under_its_alias(body: Any, mapped: dict[str, Any]) -> None:
    aliases = [Alias("temperature", ("Device", "Temp")), Alias("second", ("readings", 1))]
    assert map_data(aliases, body) == mapped
