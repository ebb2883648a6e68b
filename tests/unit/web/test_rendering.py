"""Words that pages make of the domain's."""

from __future__ import annotations

import asyncio

import pytest

from moorage.clock import SystemClock
from moorage.web.rendering import Renderer, sentence, shortened, who
from tests.servers.world import eventually


async def test_templates_are_compiled_before_anybody_asks_one_after_another_and_not_at_once() -> None:
    renderer = Renderer(SystemClock(), "hub", lambda: None)
    cache = renderer._environment.cache
    assert cache is not None
    warming = asyncio.create_task(renderer.warm())
    await eventually(lambda: len(cache) > 1)
    assert not warming.done()
    warming.cancel()
    await asyncio.gather(warming, return_exceptions=True)


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


def test_a_long_hash_is_shortened_for_reading_and_whole_for_copying() -> None:
    whole = "AB12CD34" * 8
    said = shortened(f"SHA-256 {whole} of <b>")
    assert said == (
        f'SHA-256 <button type="button" class="hash" data-copy="{whole}" title="Copy {whole}">'
        "<code>AB12CD34\u2026</code></button> of &lt;b&gt;"
    )
    assert shortened("a" * 41 + " " + "b" * 39) == "a" * 41 + " " + "b" * 39
    assert shortened("up\u202edown") == "up\\u202edown"
