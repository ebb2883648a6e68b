"""What is to change: declared beside present."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.cli.declared.enrollments import EnrollmentGroups
from moorage.cli.declared.kinds import KINDS
from moorage.cli.declared.model import Declared
from moorage.cli.declared.plan import Difference, compare

DEVICE = KINDS["device"]


def device(**spec: Any) -> Declared:
    return Declared("device", "pump-01", {name.replace("_", "-"): value for name, value in spec.items()}, "here")


def test_a_thing_that_is_not_there_is_created_with_all_that_is_not_a_default() -> None:
    change = compare(device(status="enabled", tags={"site": "harbour"}), DEVICE, None)
    assert change.action == "create"
    assert change.differences == (Difference("tags.site", None, "harbour"),)


def test_what_is_not_said_is_not_compared() -> None:
    present = {"auth": "sas", "status": "disabled", "edge": False, "tags": {"a": 1}, "desired": {"b": 2}}
    assert compare(device(edge=False), DEVICE, present).action == "none"


def test_a_member_that_differs_is_named_with_both_values() -> None:
    change = compare(device(status="disabled"), DEVICE, {"status": "enabled"})
    assert change.action == "update"
    assert change.differences == (Difference("status", "enabled", "disabled"),)


def test_tags_are_compared_by_the_members_that_are_named() -> None:
    present = {"tags": {"kept": 1, "place": {"floor": 2, "room": 7}}}
    change = compare(device(tags={"place": {"floor": 3, "door": None}}), DEVICE, present)
    assert change.differences == (Difference("tags.place.floor", 2, 3),)


def test_null_takes_a_member_away() -> None:
    change = compare(device(tags={"old": None}), DEVICE, {"tags": {"old": {"a": 1}}})
    assert change.differences == (Difference("tags.old", {"a": 1}, None),)


def test_true_is_not_one() -> None:
    assert compare(device(tags={"on": True}), DEVICE, {"tags": {"on": 1}}).action == "update"
    assert compare(device(tags={"on": 1.0}), DEVICE, {"tags": {"on": 1}}).action == "none"


@pytest.mark.parametrize("before", [None, "b2xkb2xkb2xkb2xkb2xkb2xkb2xk"])
def test_keys_are_not_shown(before: str | None) -> None:
    change = compare(device(primary_key="bmV3bmV3bmV3bmV3bmV3bmV3bmV3"), DEVICE, {"primary-key": before})
    (difference,) = change.differences
    assert difference.after == "(secret)"
    assert difference.before == (None if before is None else "(secret)")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)
TABLE = st.dictionaries(st.sampled_from("xyz"), JSON, max_size=3)


def merge(present: Any, patch: Any) -> Any:
    """A twin's patch (contract/services.md T-4)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(present) if isinstance(present, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


@given(present=TABLE, wanted=TABLE)
def test_once_the_patch_is_made_nothing_differs_any_more(present: dict[str, Any], wanted: dict[str, Any]) -> None:
    clean = merge({}, present)
    assert compare(device(tags=wanted), DEVICE, {"tags": merge(clean, wanted)}).action == "none"
    if compare(device(tags=wanted), DEVICE, {"tags": clean}).action == "none":
        assert merge(clean, wanted) == clean


@pytest.mark.parametrize(("before", "after"), [(1, True), ([0], [False]), ({"a": [1]}, {"a": [True]})])
def test_a_number_is_no_truth_however_deep(before: object, after: object) -> None:
    kind = KINDS["enrollment"]
    declared = Declared("enrollment", "e", {"tags": {"x": after}}, "a.yaml: enrollment.e")
    assert compare(declared, kind, {"tags": {"x": before}}).action == "update"
    assert compare(declared, kind, {"tags": {"x": after}}).action == "none"


@pytest.mark.parametrize(
    ("declared", "present", "version"),
    [({}, "2019-03-31", "2019-03-31"), ({"webhook-api-version": "2018-11-01"}, "2019-03-31", "2018-11-01")],
)
def test_a_web_hooks_version_that_is_not_said_stays(declared: dict[str, str], present: str, version: str) -> None:
    hook = {"webhookUrl": "https://a.example/?****", "apiVersion": present}
    body: dict[str, Any] = {"customAllocationDefinition": hook}
    EnrollmentGroups()._fill(body, {"webhook": "https://a.example/?code=x", **declared})
    assert body == {"customAllocationDefinition": {"webhookUrl": "https://a.example/?code=x", "apiVersion": version}}
