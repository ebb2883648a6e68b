"""docs/mutants.md: the list that `make mutants` wrote and the explanations written by hand belong together."""

from __future__ import annotations

from tests.wall.modules import MODULES
from tests.wall.survivors import PAGE, explain, load_explanations, load_results, page

RESULTS = load_results()


def test_the_page_is_made_of_both() -> None:
    assert PAGE.read_text() == page(RESULTS, load_explanations()), "run `make mutants`"


def test_every_explanation_has_a_survivor() -> None:
    explanations = load_explanations()
    explained = explain((each for found in RESULTS.values() for each in found.survivors), explanations)
    assert [each.why for each in explanations if each not in explained.values()] == []


def test_the_list_is_of_the_modules_that_there_are() -> None:
    assert set(RESULTS) <= set(MODULES)
    assert all(found.mutants > len(found.survivors) for found in RESULTS.values())
