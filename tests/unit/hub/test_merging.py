"""What several configurations make of one document: by path, by rank, and back again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.hub.merging import Layer, Path, apply_settings, difference, effective, is_same, remove_at, set_at
from moorage.hub.model import Document
from moorage.hub.twins import merge_document
from tests.unit.hub.samples import NOW

NAMES = st.sampled_from("abc")
SCALARS = st.one_of(st.booleans(), st.integers(-2, 2), st.text("xy", max_size=2), st.just([1, {"n": None}]))
DOCUMENTS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(NAMES, SCALARS, max_size=3),
    lambda inner: st.dictionaries(NAMES, st.one_of(SCALARS, inner), max_size=3),
    max_leaves=8,
)
PATHS: st.SearchStrategy[Path] = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
LAYERS = st.lists(st.dictionaries(PATHS, st.one_of(SCALARS, DOCUMENTS), max_size=3), max_size=4).map(
    lambda all_settings: [Layer(str(number), settings) for number, settings in enumerate(all_settings)]
)


def merged(document: dict[str, Any], patch: dict[str, Any]) -> Any:
    """As a twin merges it."""
    before = Document(document, {}, 1)
    return merge_document(before, patch, section="desired", limit=10**6, now=NOW, stamp_version=True).value


def at(document: Any, path: Path) -> Any:
    for name in path:
        if not isinstance(document, dict) or name not in document:
            return None
        document = document[name]
    return document


@given(DOCUMENTS, DOCUMENTS)
def test_the_difference_merged_in_is_the_wanted_document(before: dict[str, Any], after: dict[str, Any]) -> None:
    patch = difference(before, after)
    assert is_same(merged(before, patch), after)
    assert (patch == {}) == is_same(before, after)


@given(DOCUMENTS)
def test_there_is_no_difference_to_itself(document: dict[str, Any]) -> None:
    assert difference(document, document) == {}


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({"a": 1}, {"a": True}, {"a": True}),
        ({"a": 1}, {"a": 1.0}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}, {"a": {"b": None}}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": None}}),
        ({"a": 1}, {"a": {}}, {"a": {}}),
        ({"a": [1, True]}, {"a": [1, 1]}, {"a": [1, 1]}),
        ({}, {"a": {"b": {}}}, {"a": {"b": {}}}),
    ],
)
def test_the_difference_is_the_smallest_patch(
    before: dict[str, Any], after: dict[str, Any], patch: dict[str, Any]
) -> None:
    assert is_same(difference(before, after), patch)


@given(DOCUMENTS, PATHS, st.one_of(SCALARS, DOCUMENTS))
def test_what_is_set_is_there_and_nothing_else_has_changed(document: dict[str, Any], path: Path, value: Any) -> None:
    changed = set_at(document, path, value)
    assert is_same(at(changed, path), value)
    for name in document:
        if name != path[0]:
            assert is_same(changed[name], document[name])


@given(DOCUMENTS, PATHS)
def test_what_is_removed_is_gone_with_what_it_left_empty(document: dict[str, Any], path: Path) -> None:
    changed = remove_at(document, path)
    assert at(changed, path) is None
    if at(document, path) is None:
        assert is_same(changed, document)


@given(DOCUMENTS, PATHS, st.one_of(SCALARS, DOCUMENTS))
def test_setting_a_new_section_and_removing_it_restores_the_document(
    document: dict[str, Any], path: Path, value: Any
) -> None:
    document = {name: inner for name, inner in document.items() if name != path[0]}
    assert is_same(remove_at(set_at(document, path, value), path), document)


@given(DOCUMENTS, LAYERS)
def test_settings_that_count_make_what_all_of_them_make_in_order(document: dict[str, Any], layers: list[Layer]) -> None:
    wanted = apply_settings(document, effective(layers))
    by_hand = document
    for layer in layers:
        for path, value in sorted(layer.settings.items(), key=lambda setting: len(setting[0])):
            by_hand = set_at(by_hand, path, value)
    # A lower layer that only makes way for a higher one may leave its trace in the way: never a value.
    for setting in effective(layers[-1:]):
        assert is_same(at(wanted, setting.path), at(by_hand, setting.path))
    assert is_same(apply_settings(wanted, effective(layers)), wanted)


@given(LAYERS)
def test_the_highest_layer_always_counts(layers: list[Layer]) -> None:
    owners = {setting.owner for setting in effective(layers)}
    if layers and layers[-1].settings:
        assert layers[-1].owner in owners


@pytest.mark.parametrize(
    ("low", "high", "made", "parts"),
    [
        ({("a",): 1}, {("a",): 2}, {"a": 2}, {"high"}),
        ({("a",): 1}, {("b",): 2}, {"a": 1, "b": 2}, {"low", "high"}),
        ({("a",): {"x": 1, "y": 2}}, {("a", "x"): 3}, {"a": {"x": 3, "y": 2}}, {"low", "high"}),
        ({("a", "x"): 3}, {("a",): {"y": 2}}, {"a": {"y": 2}}, {"high"}),
        ({("a",): {"x": 1}}, {("a",): None}, {}, {"high"}),
        ({("a", "x"): 1}, {("a", "y"): 2}, {"a": {"x": 1, "y": 2}}, {"low", "high"}),
        ({("a",): 1, ("b",): 1}, {("a",): 2}, {"a": 2, "b": 1}, {"low", "high"}),
        ({}, {("a",): {"x": None, "y": 1}}, {"a": {"y": 1}}, {"high"}),
    ],
)
def test_the_higher_layer_wins_path_by_path(
    low: dict[Path, Any], high: dict[Path, Any], made: dict[str, Any], parts: set[str]
) -> None:
    settings = effective([Layer("low", low), Layer("high", high)])
    assert apply_settings({}, settings) == made
    assert {setting.owner for setting in settings} == parts
