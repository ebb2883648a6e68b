"""Packet ids: handed out, answered, handed out again."""

from __future__ import annotations

import pytest

from moorage.errors import LocalProtocolError
from moorage.protocols.mqtt.in_flight import InFlight


def test_ids_begin_at_1_and_remember_what_they_stand_for() -> None:
    in_flight: InFlight[str] = InFlight()
    assert [in_flight.add("a"), in_flight.add("b")] == [1, 2]
    assert list(in_flight) == [(1, "a"), (2, "b")]
    assert in_flight.remove(1) == "a"
    assert in_flight.remove(1) is None
    assert len(in_flight) == 1


def test_a_free_id_is_not_used_again_at_once_so_that_a_late_answer_finds_nothing() -> None:
    in_flight: InFlight[str] = InFlight()
    in_flight.remove(in_flight.add("a"))
    assert in_flight.add("b") == 2


def test_mqtt_2_3_1_2_ids_wrap_around_and_skip_those_in_use() -> None:
    in_flight: InFlight[int] = InFlight()
    assert in_flight.add(0) == 1
    for expected in range(2, 65536):
        packet_id = in_flight.add(expected)
        assert packet_id == expected
        in_flight.remove(packet_id)
    assert in_flight.add(1) == 2


def test_mqtt_4_6_0_1_what_waits_longest_comes_first_also_after_wrapping() -> None:
    in_flight: InFlight[int] = InFlight()
    for _ in range(65534):
        in_flight.remove(in_flight.add(0))
    in_flight.add(1)
    in_flight.add(2)
    assert list(in_flight) == [(65535, 1), (1, 2)]


def test_when_all_ids_are_in_use_it_says_so() -> None:
    in_flight: InFlight[int] = InFlight()
    for number in range(65535):
        in_flight.add(number)
    with pytest.raises(LocalProtocolError, match="65535"):
        in_flight.add(0)
    assert in_flight.remove(777) == 776
    assert in_flight.add(1) == 777
