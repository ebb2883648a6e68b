from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moorage.ids import DEFAULT_HUB, DeviceId, RegistrationId, Secret
from moorage.provisioning.allocation import AllocationFailed, candidate_names, choose_hub, decide_placement
from moorage.provisioning.model import BySymmetricKey, EnrollmentGroup, HubChoice, Registration, Reprovisioning
from tests.certs import NOW

HUBS = (HubChoice(("east.example", "10.0.0.1")), HubChoice(("west.example",)), HubChoice(("north.example",)))
GROUP = EnrollmentGroup(DEFAULT_HUB, BySymmetricKey(Secret(""), Secret("")), 1, NOW, NOW)
PUMP = RegistrationId("pump-01")


def before(hub: str | None) -> Registration:
    return Registration(
        DEFAULT_HUB, PUMP, "4.a.b", "assigned", NOW, NOW, 1, "x509", assigned_hub=hub, device_id=DeviceId("pump-01")
    )


def names(count: int) -> list[RegistrationId]:
    return [RegistrationId(f"pump-{number}") for number in range(count)]


def test_hashed_devices_spread_over_all_hubs_by_their_preferred_names() -> None:
    counts = Counter(choose_hub(GROUP, HUBS, name) for name in names(3000))
    assert set(counts) == {"east.example", "west.example", "north.example"}
    assert min(counts.values()) > 800


def test_hashing_is_the_same_in_every_run_and_without_case() -> None:
    assert [choose_hub(GROUP, HUBS, name) for name in names(6)] == [
        choose_hub(GROUP, HUBS, RegistrationId(name.upper())) for name in names(6)
    ]
    assert choose_hub(GROUP, HUBS, PUMP) == "west.example"


@given(st.integers(0, 2))
def test_unlinking_a_hub_moves_its_own_devices_and_no_others(gone: int) -> None:
    fewer = [hub for index, hub in enumerate(HUBS) if index != gone]
    for name in names(50):
        placed = choose_hub(GROUP, HUBS, name)
        if placed != HUBS[gone].names[0]:
            assert choose_hub(GROUP, fewer, name) == placed


def test_static_takes_the_first_hub_that_is_linked_under_the_name_it_was_given() -> None:
    static = replace(GROUP, allocation="static", linked_hubs=("gone.example", "10.0.0.1", "east.example"))
    assert choose_hub(static, HUBS, PUMP) == "10.0.0.1"


def test_one_hub_under_two_names_is_one_candidate() -> None:
    named_twice = replace(GROUP, linked_hubs=("EAST.example", "10.0.0.1"))
    assert {choose_hub(named_twice, HUBS, name) for name in names(50)} == {"east.example"}


def test_geo_latency_without_anything_to_measure_is_hashed() -> None:
    assert choose_hub(replace(GROUP, allocation="geoLatency"), HUBS, PUMP) == choose_hub(GROUP, HUBS, PUMP)


def spread(hubs: Sequence[HubChoice], count: int = 6000) -> Counter[str]:
    return Counter(choose_hub(GROUP, hubs, name) for name in names(count))


def test_weights_are_shares() -> None:
    weighed = [HubChoice(("a",), 1), HubChoice(("b",), 2), HubChoice(("c",), 3)]
    counts = spread(weighed)
    assert [abs(counts[name] - share) < 150 for name, share in (("a", 1000), ("b", 2000), ("c", 3000))] == [True] * 3


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=5), st.data())
def test_changing_one_weight_moves_devices_to_or_from_that_hub_alone(weights: list[int], data: st.DataObject) -> None:
    changed = data.draw(st.integers(0, len(weights) - 1))
    assume(any(weights))
    hubs = [HubChoice((f"hub-{index}",), weight) for index, weight in enumerate(weights)]
    other = [*hubs]
    other[changed] = HubChoice(hubs[changed].names, data.draw(st.integers(0, 1000)))
    assume(any(hub.weight for hub in other))
    for name in names(30):
        was, now = choose_hub(GROUP, hubs, name), choose_hub(GROUP, other, name)
        assert was == now or f"hub-{changed}" in (was, now)


def test_a_hub_of_weight_0_gets_no_device_by_hash_and_may_be_named() -> None:
    hubs = [HubChoice(("a",), 0), HubChoice(("b",), 1)]
    assert set(spread(hubs, 100)) == {"b"}
    static = replace(GROUP, allocation="static", linked_hubs=("a",))
    assert choose_hub(static, hubs, PUMP) == "a"
    with pytest.raises(AllocationFailed, match="weight 0: a"):
        choose_hub(replace(GROUP, linked_hubs=("a",)), hubs, PUMP)


def test_a_hub_that_applies_no_policy_gets_those_that_name_it() -> None:
    hubs = [HubChoice(("a",), 1, False), HubChoice(("b",), 1)]
    assert set(spread(hubs, 100)) == {"b"}
    assert choose_hub(replace(GROUP, linked_hubs=("a",)), hubs, PUMP) == "a"
    with pytest.raises(AllocationFailed):
        choose_hub(GROUP, hubs[:1], PUMP)


def test_a_web_hook_may_choose_any_linked_hub_or_those_that_are_named() -> None:
    hubs = [HubChoice(("a", "10.0.0.1"), 0, False), HubChoice(("b",))]
    assert candidate_names(GROUP, None, hubs) == ["a", "b"]
    assert candidate_names(replace(GROUP, linked_hubs=("b", "10.0.0.1", "c")), None, hubs) == ["b", "10.0.0.1"]
    assert candidate_names(NEVER, before("b"), hubs) == ["b"]
    assert candidate_names(NEVER, before("gone"), hubs) == ["a", "b"]
    with pytest.raises(AllocationFailed):
        candidate_names(GROUP, None, [])


@pytest.mark.parametrize(("linked", "hubs"), [((), ()), (("gone.example",), HUBS)])
def test_no_linked_hub_fails_with_its_code(linked: tuple[str, ...], hubs: tuple[HubChoice, ...]) -> None:
    with pytest.raises(AllocationFailed) as caught:
        choose_hub(replace(GROUP, linked_hubs=linked), hubs, PUMP)
    assert (caught.value.reason, caught.value.error_code) == ("allocation.no_hub", 400208)


MIGRATE = GROUP
RESET = replace(GROUP, reprovisioning=Reprovisioning(True, False))
NEVER = replace(GROUP, reprovisioning=Reprovisioning(False, False))


@pytest.mark.parametrize(
    ("policy", "was", "now", "substatus", "moved_from"),
    [
        (MIGRATE, None, "west.example", "initialAssignment", None),
        (MIGRATE, "west.example", "west.example", "initialAssignment", None),
        (MIGRATE, "east.example", "west.example", "deviceDataMigrated", "east.example"),
        (RESET, None, "west.example", "initialAssignment", None),
        (RESET, "west.example", "west.example", "deviceDataReset", None),
        (RESET, "east.example", "west.example", "deviceDataReset", "east.example"),
        (NEVER, None, "west.example", "initialAssignment", None),
        (NEVER, "east.example", "east.example", "initialAssignment", None),
        (NEVER, "gone.example", "west.example", "deviceDataMigrated", "gone.example"),
    ],
)
def test_reprovisioning_policies(
    policy: EnrollmentGroup, was: str | None, now: str, substatus: str, moved_from: str | None
) -> None:
    enrollment = replace(policy, allocation="static", linked_hubs=("west.example",))
    placement = decide_placement(enrollment, before(was), HUBS, PUMP)
    assert (placement.host_name, placement.substatus, placement.moved_from) == (now, substatus, moved_from)


def test_another_name_of_the_same_hub_is_no_move() -> None:
    enrollment = replace(GROUP, allocation="static", linked_hubs=("10.0.0.1",))
    placement = decide_placement(enrollment, before("east.example"), HUBS, PUMP)
    assert (placement.host_name, placement.moved_from) == ("10.0.0.1", None)
