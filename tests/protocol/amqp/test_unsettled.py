"""Ranges of deliveries, against an obvious dictionary."""

from __future__ import annotations

from time import process_time

from hypothesis import given
from hypothesis import strategies as st

from moorage.protocols.amqp.unsettled import Unsettled, signed

IDS = st.integers(0, 60)


@given(
    st.sampled_from([0, 1, 2**31 - 20, 2**32 - 20]),
    st.lists(st.tuples(st.sampled_from(["add", "pop", "range", "discard"]), IDS, IDS), max_size=60),
)
def test_ranges_mean_what_counting_through_them_means(start: int, steps: list[tuple[str, int, int]]) -> None:
    unsettled: Unsettled[int] = Unsettled()
    expected: dict[int, int] = {}
    newest = -1
    for what, one, other in steps:
        id = (start + one) & 0xFFFFFFFF
        if what == "add":
            assert unsettled.add(id, one) is (one > newest)
            if one > newest:
                newest = one
                expected[one] = one
        elif what == "pop":
            assert unsettled.pop(id) == expected.pop(one, None)
        elif what == "discard":
            unsettled.discard(lambda delivery, one=one: delivery % 7 == one % 7)  # type: ignore[misc]  # a default
            expected = {key: value for key, value in expected.items() if key % 7 != one % 7}
        else:
            low, high = min(one, other), max(one, other)
            found = unsettled.pop_range((start + low) & 0xFFFFFFFF, (start + high) & 0xFFFFFFFF)
            assert found == [value for key, value in sorted(expected.items()) if low <= key <= high]
            expected = {key: value for key, value in expected.items() if not low <= key <= high}
        assert len(unsettled) == len(expected)


def test_a_range_of_half_of_all_numbers_is_looked_up_and_not_counted() -> None:
    unsettled: Unsettled[int] = Unsettled()
    for id in range(2000):
        unsettled.add(id, id)
    assert len(unsettled.pop_range(1, 2**31 - 1)) == 1999
    began = process_time()
    for _ in range(2000):
        assert unsettled.pop_range(1, 2**31 - 1) == []
    assert process_time() - began < 5


def test_differences_wrap_around() -> None:
    assert signed(1 - 0xFFFFFFFF) == 2
    assert signed(0xFFFFFFFF - 1) == -2
