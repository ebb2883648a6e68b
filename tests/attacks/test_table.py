"""The attack table as a whole: enough cases, each with a number of its own, and none that says nothing."""

from __future__ import annotations

from collections import Counter

from moorage.dialects.reasons import REASONS
from moorage.pki.zoo import SPECIMENS
from tests.attacks.chapters import CHAPTERS, TABLE
from tests.attacks.requests import SMUGGLING
from tests.attacks.table import DOORS, LET_IN, Case, Door


def test_there_are_enough_cases_in_every_class() -> None:
    assert len(TABLE) >= 80
    assert min(len(chapter.cases) for chapter in CHAPTERS) >= 5


def test_no_number_is_given_twice() -> None:
    assert not [number for number, count in Counter(case.number for case in TABLE).items() if count > 1]


def test_every_case_says_what_the_attacker_does_and_is_played_somewhere() -> None:
    for case in TABLE:
        assert case.attack[-1] == "." and len(case.attack) >= 8, case.number
        assert case.outcomes, case.number


def test_everybody_who_is_kept_out_has_a_reason_that_is_documented() -> None:
    for case in TABLE:
        for door, outcome in case.outcomes.items():
            if outcome.reason:
                assert outcome.reason in REASONS, (case.number, door)
            elif case.chapter != SMUGGLING.title and not outcome.answer.startswith("amqp:link:"):
                # What keeps nobody out: the answer says what came of it. Smuggled bytes are no request of anybody's,
                # and a link that breaks AMQP's own rules ends with the condition that AMQP has for it.
                assert not outcome.answer.startswith(("CONNACK 5", "closed", "40", "amqp:", "CBS 4", "SASL")), (
                    case.number,
                    door,
                )


def test_most_refusals_are_proven_beside_an_acceptance() -> None:
    with_twin = [case for case in TABLE if not case.no_twin]
    assert len(with_twin) / len(TABLE) > 0.85
    for door in DOORS:
        assert any(case.outcomes[door].answer == LET_IN[door] for case in TABLE if door in case.outcomes), door


def test_a_case_of_another_transport_is_played_over_amqp_or_says_why_not() -> None:
    def lacks(case: Case, others: tuple[Door, ...], amqp: Door) -> bool:
        return any(door in case.outcomes for door in others) and amqp not in case.outcomes

    silent = [
        case.number
        for case in TABLE
        if not case.no_amqp
        and (lacks(case, ("hub MQTT", "hub HTTPS"), "hub AMQP") or lacks(case, ("DPS MQTT", "DPS HTTPS"), "DPS AMQP"))
    ]
    assert silent == []


def test_every_specimen_of_the_zoo_is_a_case() -> None:
    attacks = " ".join(case.attack for case in TABLE)
    assert [name for name in SPECIMENS if f"`{name}`" not in attacks] == []
