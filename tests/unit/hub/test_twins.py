"""Twin documents: merge, replace, versions, metadata and limits, without a store."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Invalid, PreconditionFailed, TooLarge
from moorage.hub.model import Document, Twin
from moorage.hub.twins import (
    MAX_DESIRED_BYTES,
    MAX_TAGS_BYTES,
    TwinChange,
    check_section,
    device_view,
    fresh_twin,
    initial_twin,
    merge_document,
    patch_twin,
    replace_twin,
    report,
    reset_twin,
    size_of,
    twin_etag,
)
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
PUMP = IdentityName(DeviceId("pump-01"))

KEYS = st.text(alphabet="abcdeä-_", min_size=1, max_size=3)
SCALARS = (
    st.booleans()
    | st.integers(-4503599627370496, 4503599627370495)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
)
VALUES = st.recursive(
    SCALARS | st.lists(SCALARS, max_size=3),
    lambda children: st.dictionaries(KEYS, children, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)
PATCHES = st.dictionaries(
    KEYS,
    st.recursive(
        st.none() | SCALARS | st.lists(SCALARS, max_size=3),
        lambda children: st.dictionaries(KEYS, children, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def document(value: dict[str, Any], version: int = 1) -> Document:
    """`value` written as a whole at `version`."""
    return merge_document(
        Document({}, {}, version - 1), value, section="d", limit=MAX_DESIRED_BYTES, now=NOW, stamp_version=True
    )


def oracle(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    result = copy.deepcopy(target)
    for name, value in patch.items():
        if value is None:
            if name in result:
                del result[name]
        else:
            result[name] = oracle(result.get(name), value)
    return result


def merged(start: Document, patch: dict[str, Any], now: datetime = LATER) -> Document:
    return merge_document(start, patch, section="d", limit=MAX_DESIRED_BYTES, now=now, stamp_version=True)


def holds_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(holds_null, value.values()))
    return value is None


def mirrors(value: Any, metadata: Any) -> bool:
    """T-2: at every level the same members and a stamp; arrays are leaves."""
    members = value if isinstance(value, dict) else {}
    named = {key for key in metadata if not key.startswith("$")}
    return (
        {"$lastUpdated", "$lastUpdatedVersion"} <= set(metadata)
        and named == set(members)
        and all(mirrors(members[key], metadata[key]) for key in members)
    )


@given(DOCUMENTS, PATCHES)
def test_merge_agrees_with_rfc_7396(start: dict[str, Any], patch: dict[str, Any]) -> None:
    before = document(start)
    untouched = copy.deepcopy((start, patch))
    after = merged(before, patch)
    assert after.value == oracle(before.value, patch)
    assert (start, patch) == untouched
    assert after.version == before.version + 1


@given(DOCUMENTS, PATCHES)
def test_a_patch_applied_twice_equals_once_except_versions(start: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merged(document(start), patch)
    twice = merged(once, patch)
    assert twice.value == once.value
    assert twice.version == once.version + 1


@given(DOCUMENTS, st.lists(PATCHES, max_size=4))
def test_metadata_mirrors_the_members_and_no_null_is_stored(
    start: dict[str, Any], patches: list[dict[str, Any]]
) -> None:
    current = document(start)
    for patch in patches:
        current = merged(current, patch)
    assert not holds_null(current.value)
    assert mirrors(current.value, current.metadata)


def test_metadata_says_when_and_at_which_version_each_member_was_written() -> None:
    start = document({"a": {"b": 1, "c": 2}, "d": [1, {"x": 1}]})
    after = merged(start, {"a": {"b": 5}})
    old = {"$lastUpdated": "2030-01-01T12:00:00.0000000Z", "$lastUpdatedVersion": 1}
    new = {"$lastUpdated": "2030-01-01T12:05:00.0000000Z", "$lastUpdatedVersion": 2}
    assert after.metadata == {**new, "a": {**new, "b": new, "c": old}, "d": old}


def test_reported_metadata_has_no_versions() -> None:
    twin = report(fresh_twin(DEFAULT_HUB, PUMP), {"a": {"b": 1}}, now=NOW)
    stamp = {"$lastUpdated": "2030-01-01T12:00:00.0000000Z"}
    assert twin.reported.metadata == {**stamp, "a": {**stamp, "b": stamp}}


def test_fresh_twin_is_at_version_one_with_the_documented_etag() -> None:
    twin = fresh_twin(DEFAULT_HUB, PUMP)
    assert (twin.version, twin.desired.version, twin.reported.version) == (1, 1, 1)
    assert twin_etag(twin) == "AAAAAAAAAAE="
    assert twin.desired.metadata == {"$lastUpdated": "0001-01-01T00:00:00Z"}


def test_each_section_counts_its_own_version_and_the_twin_counts_every_write() -> None:
    twin = fresh_twin(DEFAULT_HUB, PUMP)
    twin, pushed = patch_twin(twin, TwinChange(tags={"a": 1}), now=NOW)
    assert (twin.version, twin.desired.version, twin.reported.version, pushed) == (2, 1, 1, None)
    twin, pushed = patch_twin(twin, TwinChange(tags={"a": 2}, desired={"x": None}), now=NOW)
    assert (twin.version, twin.desired.version, twin.reported.version, pushed) == (3, 2, 1, {"x": None})
    twin = report(twin, {"y": 1}, now=NOW)
    assert (twin.version, twin.desired.version, twin.reported.version) == (4, 2, 2)


@pytest.mark.parametrize(
    "change", [TwinChange(), TwinChange(tags={}, desired={}), TwinChange(desired={"$version": 7, "$metadata": {}})]
)
def test_a_patch_that_writes_nothing_changes_nothing(change: TwinChange) -> None:
    twin = fresh_twin(DEFAULT_HUB, PUMP)
    assert patch_twin(twin, change, now=NOW) == (twin, None)
    assert report(twin, {"$version": 4}, now=NOW) is twin


def test_replace_puts_the_sections_it_has_in_place_and_keeps_the_others() -> None:
    twin, _ = patch_twin(fresh_twin(DEFAULT_HUB, PUMP), TwinChange({"t": 1}, {"a": 1, "b": {"c": 2}}), now=NOW)
    twin = report(twin, {"r": 1}, now=NOW)
    after, pushed = replace_twin(twin, TwinChange(desired={"a": 2, "n": None, "$version": 99}), now=LATER)
    assert after.desired.value == {"a": 2} == pushed
    assert (after.tags, after.reported, after.version) == ({"t": 1}, twin.reported, twin.version + 1)
    assert after.desired.version == 3
    emptied, pushed = replace_twin(after, TwinChange(tags={}), now=LATER)
    assert (emptied.tags, emptied.desired, pushed) == ({}, after.desired, None)


def test_a_device_sees_both_sections_with_versions_and_without_metadata() -> None:
    twin, _ = patch_twin(fresh_twin(DEFAULT_HUB, PUMP), TwinChange(desired={"a": 1}), now=NOW)
    assert device_view(twin) == {"desired": {"a": 1, "$version": 2}, "reported": {"$version": 1}}


def test_initial_data_is_the_first_version_and_a_reset_goes_on_counting() -> None:
    twin = initial_twin(DEFAULT_HUB, PUMP, tags={"site": "north"}, desired={"rate": 5}, now=NOW)
    assert (twin.version, twin.desired.version, twin.desired.value) == (1, 1, {"rate": 5})
    twin = report(twin, {"temperature": 20}, now=NOW)
    again = reset_twin(twin, tags={}, desired={"rate": 6}, now=LATER)
    assert (again.version, again.desired.version, again.reported.version) == (3, 2, 3)
    assert (again.tags, again.desired.value, again.reported.value) == ({}, {"rate": 6}, {})


def test_a_conditional_report_for_another_version_is_refused() -> None:
    twin = report(fresh_twin(DEFAULT_HUB, PUMP), {"a": 1}, now=NOW, expected_version=1)
    with pytest.raises(PreconditionFailed, match="version 1, the twin is at 2") as caught:
        report(twin, {"a": 2}, now=NOW, expected_version=1)
    assert caught.value.reason == "twin.version"


def nest(levels: int) -> dict[str, Any]:
    """`levels` objects inside each other below the section, the innermost holding one property."""
    inner: dict[str, Any] = {"property": "value"}
    for level in range(levels, 0, -1):
        inner = {f"l{level}": inner}
    return inner


def test_ten_levels_below_a_section_are_allowed_and_eleven_are_not() -> None:
    check_section(nest(10), "tags")
    with pytest.raises(Invalid, match=r"tags\.l1\.l2\.l3\.l4\.l5\.l6\.l7\.l8\.l9\.l10\.l11 is nested") as caught:
        check_section(nest(11), "tags")
    assert caught.value.reason == "twin.depth"


def test_a_document_nested_a_million_deep_is_refused_without_descending() -> None:
    deep: Any = 1
    for level in range(1_000_000):
        deep = {"a": deep} if level % 2 else [deep]
    with pytest.raises(Invalid, match="nested deeper"):
        check_section({"a": deep}, "properties.reported")
    # Taken apart by hand: the interpreter itself would recurse to free it.
    while isinstance(deep, (dict, list)):
        deep = deep.pop("a") if isinstance(deep, dict) else deep.pop()


@pytest.mark.parametrize(
    ("patch", "reason", "message"),
    [
        ({"a": {"b.c": 1}}, "twin.key", r"'b\.c' under d\.a: a member's name may not hold '\.'"),
        ({"$a": 1}, "twin.key", r"'\$a' under d: .* '\$'"),
        ({"a b": 1}, "twin.key", "may not hold ' '"),
        ({"a\x85": 1}, "twin.key", r"may not hold '\\x85'"),
        ({"a": {"k" * 1025: 1}}, "twin.key", r"under d\.a has 1025 bytes, at most 1024"),
        ({"a": {"b": "ä" * 2049}}, "twin.string", r"d\.a\.b is a string of 4098 bytes, at most 4096"),
        ({"a": [1, {"b": 4503599627370496}]}, "twin.integer", r"d\.a\[1\]\.b is 4503599627370496"),
        ({"a": -4503599627370497}, "twin.integer", r"d\.a is -4503599627370497"),
        ({"a": [1, None]}, "twin.null", r"d\.a\[1\] is null"),
        ({"a": float("inf")}, "twin.number", r"d\.a is not a finite number"),
        ({"a": object()}, "twin.value", r"d\.a is a object"),
    ],
)
def test_what_a_twin_cannot_hold_is_refused_by_its_path(patch: dict[str, Any], reason: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        check_section(patch, "d")
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "patch",
    [
        {"k" * 1024: 1},
        {"a": "ä" * 2048},
        {"a": [4503599627370495, -4503599627370496, True, 1e300]},
        {"ünïcode": "\x00 is counted as nothing"},
        {"": 1},
    ],
)
def test_what_is_at_the_limit_is_allowed(patch: dict[str, Any]) -> None:
    check_section(patch, "d")


def test_size_counts_as_the_contract_says() -> None:
    value = {"ab": 1, "c": [True, 2.5], "d": {"e": "ä\n"}, "$version": 3}
    assert size_of(value) == (2 + 8) + (1 + 4 + 8) + (1 + 1 + 2)


def test_the_limit_is_on_what_would_result_not_on_the_patch() -> None:
    twin = fresh_twin(DEFAULT_HUB, PUMP)
    part = {f"k{index:03}": "x" * 1020 for index in range(7)}
    twin, _ = patch_twin(twin, TwinChange(tags=part), now=NOW)
    exact = {"last": "y" * (MAX_TAGS_BYTES - 7 * 1024 - 4)}
    full, _ = patch_twin(twin, TwinChange(tags=exact), now=NOW)
    assert size_of(full.tags) == MAX_TAGS_BYTES
    with pytest.raises(TooLarge, match="tags would take 8193 bytes, at most 8192") as caught:
        patch_twin(full, TwinChange(tags={"last": exact["last"] + "y"}), now=NOW)
    assert caught.value.reason == "twin.size"
    swapped, _ = patch_twin(full, TwinChange(tags={"last": None, "k000": None, "other": "z" * 1000}), now=NOW)
    assert "other" in swapped.tags


def test_a_refused_patch_leaves_no_trace() -> None:
    twin = fresh_twin(DEFAULT_HUB, PUMP)
    with pytest.raises(Invalid):
        patch_twin(twin, TwinChange(tags={"fine": 1}, desired={"not.fine": 1}), now=NOW)
    assert twin == fresh_twin(DEFAULT_HUB, PUMP)


@pytest.mark.parametrize("section", ["text", 5, ["a"], True])
def test_a_section_that_is_no_object_is_refused(section: Any) -> None:
    with pytest.raises(Invalid, match=r"properties\.desired is a \w+, it has to be a JSON object"):
        patch_twin(fresh_twin(DEFAULT_HUB, PUMP), TwinChange(desired=section), now=NOW)
    with pytest.raises(Invalid, match=r"properties\.reported is a"):
        report(fresh_twin(DEFAULT_HUB, PUMP), section, now=NOW)


@given(st.lists(st.tuples(st.sampled_from(["patch", "replace", "report"]), PATCHES, PATCHES), max_size=6))
def test_any_run_of_writes_keeps_the_counters_in_step(
    writes: list[tuple[str, dict[str, Any], dict[str, Any]]],
) -> None:
    twin = fresh_twin(DEFAULT_HUB, PUMP)
    tags: Any = {}
    desired: Any = {}
    reported: Any = {}
    for kind, first, second in writes:
        before: Twin = twin
        if kind == "report":
            twin = report(twin, first, now=NOW)
            reported = oracle(reported, first)
            changed = (0, 0, int(bool(first)))
        elif kind == "patch":
            twin, _ = patch_twin(twin, TwinChange(first, second), now=NOW)
            tags, desired = oracle(tags, first), oracle(desired, second)
            changed = (int(bool(first)), int(bool(second)), 0)
        else:
            twin, _ = replace_twin(twin, TwinChange(first, second), now=NOW)
            tags, desired = oracle({}, first), oracle({}, second)
            changed = (1, 1, 0)
        assert (twin.tags, twin.desired.value, twin.reported.value) == (tags, desired, reported)
        assert twin.version == before.version + int(any(changed))
        assert twin.desired.version == before.desired.version + changed[1]
        assert twin.reported.version == before.reported.version + changed[2]
