"""Who is served first and who has to go, decided without a socket."""

from __future__ import annotations

from collections import Counter
from itertools import count
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.servers.admission import (
    KNOWN_S,
    REFUSED_S,
    Caps,
    Crowd,
    FairQueue,
    Origin,
    Rank,
    Standing,
    origin_of,
)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("10.1.2.3:5000", ("10.1", "10.1.2", "10.1.2.3")),
        ("::ffff:10.1.2.3:5000", ("10.1", "10.1.2", "10.1.2.3")),
        ("2001:db8:1:2:3:4:5:6:5000", ("2001:db8::/32", "2001:db8:1::/48", "2001:db8:1:2::/64")),
        ("fe80::1%eth0:5000", ("fe80::/32", "fe80::/48", "fe80::/64")),
        ("::1:5000", ("::/32", "::/48", "::/64")),
        ("", ("", "", "")),
        ("nonsense", ("", "", "")),
        ("a:b:c:5000", ("a:b:c", "a:b:c", "a:b:c")),
    ],
)
def test_an_origin_is_two_networks_and_what_one_client_can_fill(address: str, origin: Origin) -> None:
    assert origin_of(address) == origin


# --- standing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "rank"),
    [
        ("", Rank.NEW),
        ("r", Rank.REFUSED),
        ("a", Rank.KNOWN),
        ("ra", Rank.KNOWN),
        ("ar", Rank.KNOWN),
        ("a" + 20 * "r", Rank.KNOWN),
        ("a" + 21 * "r", Rank.REFUSED),
        ("a" + 21 * "r" + "a", Rank.KNOWN),
    ],
)
def test_an_address_stands_as_its_last_peers_fared(history: str, rank: Rank) -> None:
    standing = Standing()
    for each in history:
        (standing.accepted if each == "a" else standing.refused)("10.1.2.3", 100.0)
    assert standing.of("10.1.2.3", 101.0) is rank
    assert standing.of("10.1.2.4", 101.0) is Rank.NEW


def test_what_is_long_ago_counts_no_more() -> None:
    standing = Standing()
    standing.accepted("known", 0.0)
    standing.refused("refused", 0.0)
    assert standing.of("refused", REFUSED_S - 1) is Rank.REFUSED
    assert standing.of("refused", REFUSED_S) is Rank.NEW
    assert standing.of("known", KNOWN_S - 1) is Rank.KNOWN
    assert standing.of("known", KNOWN_S) is Rank.NEW


def test_refused_addresses_do_not_push_out_the_known_ones() -> None:
    standing = Standing(limit=10)
    standing.accepted("good", 0.0)
    for number in range(1000):
        standing.refused(f"bad-{number}", 1.0)
    assert standing.of("good", 2.0) is Rank.KNOWN
    assert standing.of("bad-999", 2.0) is Rank.REFUSED
    assert standing.of("bad-0", 2.0) is Rank.NEW
    for number in range(1000):
        standing.accepted(f"good-{number}", 1.0)
    assert len(standing) <= 20


# --- turns -----------------------------------------------------------------------------------------------------------


def at(text: str) -> Origin:
    return origin_of(f"{text}:1")


def test_a_good_device_is_served_among_the_first_of_ten_thousand() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(10_000):
        queue.push(f"bad-{number}", at(f"10.0.{number % 2}.{number % 100}"), Rank.REFUSED)
    queue.push("good", at("10.0.1.250"), Rank.NEW)
    assert "good" in [queue.pop() for _ in range(5)]


def test_new_addresses_of_one_network_are_one_against_another() -> None:
    """Nothing is known of any of them yet."""
    queue: FairQueue[str] = FairQueue()
    for number in range(200):
        for again in range(10):
            queue.push(f"bad-{number}-{again}", at(f"10.0.7.{number}"), Rank.NEW)
    for network in ("10.0.8.1", "10.9.9.9"):
        queue.push(network, at(network), Rank.NEW)
    served = [queue.pop() for _ in range(4)]
    assert {"10.0.8.1", "10.9.9.9"} <= set(served)


def test_the_refused_are_served_too() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("refused", at("10.0.0.1"), Rank.REFUSED)
    numbers = count()
    for _ in range(6):
        queue.push(f"known-{next(numbers)}", at("10.1.0.1"), Rank.KNOWN)
        queue.push(f"new-{next(numbers)}", at("10.2.0.1"), Rank.NEW)
    assert "refused" in [queue.pop() for _ in range(5)]


def test_what_has_begun_goes_before_its_neighbours_and_before_nobody_else() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("a1", at("10.0.0.1"), Rank.NEW)
    queue.push("b1", at("10.0.0.2"), Rank.NEW)
    queue.push("b2", at("10.0.0.2"), Rank.NEW, first=True)
    assert [queue.pop() for _ in range(3)] == ["a1", "b2", "b1"]


def test_nobody_waits_where_nobody_came() -> None:
    queue: FairQueue[str] = FairQueue()
    with pytest.raises(LookupError):
        queue.pop()
    queue.discard("who")


ORIGINS = st.builds(lambda a, b, c: at(f"10.{a}.{b}.{c}"), st.integers(0, 2), st.integers(0, 2), st.integers(0, 3))


@given(
    pushed=st.lists(st.tuples(ORIGINS, st.sampled_from(Rank), st.booleans()), max_size=80),
    gone=st.sets(st.integers(0, 79)),
)
def test_everything_comes_out_once_but_what_was_taken_out(
    pushed: list[tuple[Origin, Rank, bool]], gone: set[int]
) -> None:
    queue: FairQueue[int] = FairQueue()
    for number, (origin, rank, first) in enumerate(pushed):
        queue.push(number, origin, rank, first=first)
        queue.push(number, origin, rank)
    for number in gone:
        queue.discard(number)
    left = set(range(len(pushed))) - gone
    assert len(queue) == len(left)
    assert all((number in queue) == (number in left) for number in range(len(pushed)))
    assert Counter(queue.pop() for _ in left) == Counter(left)
    assert not queue


@given(st.lists(ORIGINS, min_size=1, max_size=80))
def test_while_both_wait_no_network_is_served_twice_more_than_another(origins: list[Origin]) -> None:
    queue: FairQueue[int] = FairQueue()
    for number, origin in enumerate(origins):
        queue.push(number, origin, Rank.NEW)
    waiting = Counter(origin[0] for origin in origins)
    served: Counter[str] = Counter()
    while queue:
        wide = origins[queue.pop()][0]
        served[wide] += 1
        waiting[wide] -= 1
        still = [served[each] for each in waiting if waiting[each] > 0]
        assert not still or max(still) - min(still) <= 1


# --- places ----------------------------------------------------------------------------------------------------------


def crowd(connections: int = 100, per_address: int = 100, strangers: int = 100) -> Crowd[str]:
    return Crowd(Caps(connections, per_address, strangers), Random(1).randrange)


def enter(crowd: Crowd[str], name: str, where: str, *, judged: bool = False) -> None:
    crowd.enter(name, at(where))
    if judged:
        crowd.judged(name)


def test_a_place_is_taken_from_the_oldest_stranger_of_the_noisiest_address() -> None:
    full = crowd(connections=6)
    enter(full, "first", "10.0.0.1")
    enter(full, "let-in", "10.0.0.2", judged=True)
    for number in range(3):
        enter(full, f"noisy-{number}", "10.0.0.2")
    enter(full, "elsewhere", "10.0.1.1")
    assert full.room_for(at("10.0.3.3")) == ("connections.limit", "noisy-0")


def test_nobody_who_was_let_in_goes_for_a_newcomer() -> None:
    full = crowd(connections=2)
    enter(full, "a", "10.0.0.1", judged=True)
    enter(full, "b", "10.0.0.2", judged=True)
    assert full.room_for(at("10.0.3.3")) == ("connections.limit", None)
    full.leave("a")
    full.leave("a")
    assert full.room_for(at("10.0.3.3")) == (None, None)


def test_one_address_has_only_its_share() -> None:
    half = crowd(per_address=2)
    enter(half, "a", "10.0.0.1", judged=True)
    enter(half, "b", "10.0.0.1")
    enter(half, "other", "10.0.0.2")
    assert half.room_for(at("10.0.0.1")) == ("connections.address", "b")
    half.judged("b")
    assert half.room_for(at("10.0.0.1")) == ("connections.address", None)
    assert half.room_for(at("10.0.0.2")) == (None, None)


def test_one_network_has_three_quarters_unless_one_address_may_have_more() -> None:
    for per_address, reason in ((10, "connections.network"), (90, None), (100, None)):
        wide = crowd(per_address=per_address)
        for number in range(75):
            enter(wide, f"{number}", f"10.0.0.{number % 15}", judged=True)
        assert wide.room_for(at("10.0.0.200")).reason == reason
        assert wide.room_for(at("10.0.1.1")).reason is None


def test_strangers_have_only_a_part() -> None:
    some = crowd(strangers=3)
    for number in range(3):
        enter(some, f"{number}", "10.0.0.1")
    assert some.room_for(at("10.0.1.1")) == ("connections.strangers", "0")
    some.judged("1")
    assert some.room_for(at("10.0.1.1")) == (None, None)
    assert (len(some), some.strangers) == (3, 2)


def test_a_good_device_keeps_its_place_while_thousands_come() -> None:
    """Each newcomer of a flood takes the place of one of its own."""
    port = crowd(connections=5000, per_address=5000, strangers=1000)
    port.enter("good", at("10.0.0.250"))
    for number in range(20_000):
        origin = at(f"10.0.0.{number % 200}")
        room = port.room_for(origin)
        if room.reason is not None:
            assert room.goes not in (None, "good")
            port.leave(str(room.goes))
        port.enter(f"bad-{number}", origin)
    assert port.strangers == 1000


@given(st.lists(st.tuples(st.sampled_from(("enter", "judged", "leave")), st.integers(0, 9), ORIGINS), max_size=200))
def test_no_cap_is_ever_passed_and_nothing_is_left_behind(steps: list[tuple[str, int, Origin]]) -> None:
    caps = Caps(connections=6, per_address=3, strangers=4)
    port: Crowd[int] = Crowd(caps, Random(2).randrange)
    inside: dict[int, Origin] = {}
    strangers: set[int] = set()
    for what, who, origin in steps:
        if what == "enter" and who not in inside:
            room = port.room_for(origin)
            if room.reason is not None:
                if room.goes is None:
                    continue
                assert room.goes in strangers
                port.leave(room.goes)
                strangers.discard(room.goes)
                del inside[room.goes]
            port.enter(who, origin)
            inside[who] = origin
            strangers.add(who)
        elif what == "judged":
            port.judged(who)
            strangers.discard(who)
        elif what == "leave":
            port.leave(who)
            strangers.discard(who)
            inside.pop(who, None)
        assert (len(port), port.strangers) == (len(inside), len(strangers))
        assert len(inside) <= caps.connections and len(strangers) <= caps.strangers
        assert all(held <= caps.per_address for held in Counter(each[2] for each in inside.values()).values())
        assert all(held <= caps.per_network for held in Counter(each[1] for each in inside.values()).values())
    for who in inside:
        port.leave(who)
    assert vars(port)["_addresses"] == vars(port)["_networks"] == vars(port)["_strangers_at"] == {}
