"""docs/mutants.md: the list that `make mutants` wrote and the explanations written by hand belong together.

A module that was changed since its mutants were judged fails nothing here: judging them takes long. The page names it
when it is written the next time.
"""

from __future__ import annotations

import pytest

from tests.wall.modules import MODULES, MUTATED
from tests.wall.survivors import PAGE, Survivor, explain, load_explanations, load_results, page, without_changes

RESULTS = load_results()
EXPLANATIONS = load_explanations()
SURVIVORS = [survivor for found in RESULTS.values() for survivor in found.survivors]


def test_the_page_is_made_of_both() -> None:
    assert without_changes(PAGE.read_text()) == page(RESULTS, EXPLANATIONS), "run `make mutants`"


@pytest.mark.parametrize("module", MUTATED)
def test_the_mutants_of_every_module_were_judged(module: str) -> None:
    assert RESULTS[module].mutants > len(RESULTS[module].survivors)


def test_nothing_else_is_listed() -> None:
    assert set(RESULTS) <= set(MODULES)


def test_every_survivor_is_explained() -> None:
    assert [str(survivor) for survivor, why in explain(SURVIVORS, EXPLANATIONS).items() if why is None] == []


def test_every_pattern_of_every_explanation_finds_a_survivor() -> None:
    of_each = explain(SURVIVORS, EXPLANATIONS)
    for explanation in EXPLANATIONS:
        mine = [str(survivor) for survivor, why in of_each.items() if why is explanation]
        for pattern in explanation.patterns:
            assert any(pattern.search(each) for each in mine), (explanation.why, pattern.pattern)


def test_what_is_said_of_a_change_is_the_only_thing_that_need_not_hold() -> None:
    changed = page(RESULTS, EXPLANATIONS, MUTATED[:2])
    assert "policy`" in changed and changed != page(RESULTS, EXPLANATIONS)
    assert without_changes(changed) == page(RESULTS, EXPLANATIONS)


def test_an_explanation_is_of_those_that_its_patterns_find_and_the_first_holds() -> None:
    first, second = EXPLANATIONS[:2]
    stranger = Survivor("moorage.nowhere", "f", "a", "b")
    assert explain([stranger], [first, second]) == {stranger: None}
