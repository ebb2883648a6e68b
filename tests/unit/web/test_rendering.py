"""Words that pages make of the domain's."""

from __future__ import annotations

import pytest

from moorage.web.rendering import sentence, who


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("there is no device 'pump-01'", "There is no device 'pump-01'."),
        ("https://hook.example is at 10.0.0.1", "https://hook.example is at 10.0.0.1."),
    ],
)
def test_a_refusal_is_a_sentence_and_an_address_stays_one(message: str, shown: str) -> None:
    assert sentence(message) == shown


@pytest.mark.parametrize(
    ("actor", "shown"),
    [("user:ada@example.com", "ada@example.com"), ("token:line 7", "API token line 7"), ("moorage", "moorage")],
)
def test_people_are_called_as_they_sign_in(actor: str, shown: str) -> None:
    assert who(actor) == shown
