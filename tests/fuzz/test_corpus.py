"""The share of `make fuzz` that every run of the tests has: what is kept, what is right, and a little that is made."""

from __future__ import annotations

import logging
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import parsers
from tests.fuzz.kept import KEPT, kept_inputs
from tests.fuzz.mutate import mutants
from tests.fuzz.one import IS_GUIDED
from tests.fuzz.targets import ALL
from tests.fuzz.targets.model import MOST_BYTES, Target, TooSlow

KEPT_INPUTS = [(target, path) for target in ALL for path in kept_inputs(target)]
# Inputs that are made, for each target.
_MADE = 150


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What is logged of bad input would be kept by the thousand; errors are heard by the targets that look for them."""
    log = logging.getLogger("moorage")
    before = log.propagate
    log.propagate = False
    log.addHandler(nobody := logging.NullHandler())
    yield
    log.removeHandler(nobody)
    log.propagate = before


@pytest.mark.parametrize(
    ("target", "path"), KEPT_INPUTS, ids=[f"{each.name}/{path.name}" for each, path in KEPT_INPUTS]
)
def test_what_once_broke_a_parser_does_so_no_more(target: Target, path: Path) -> None:
    data = path.read_bytes()
    target.try_one(data)
    # Once more, so that what is made once for all inputs is there.
    tracemalloc.start()
    try:
        target.try_one(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES, f"{len(data)} bytes of input take {peak} of memory"


@pytest.mark.parametrize("target", ALL, ids=[target.name for target in ALL])
def test_a_parser_holds_against_changed_inputs(target: Target) -> None:
    for data in target.seeds():
        target.try_one(data)
    kept = [path.read_bytes() for path in kept_inputs(target)]
    for data, _ in zip(mutants(target, random.Random(target.name), kept), range(_MADE), strict=False):
        target.try_one(data)


def test_every_kept_input_belongs_to_a_target() -> None:
    assert {folder.name for folder in KEPT.iterdir()} <= {target.name for target in ALL}


def test_every_parser_of_a_dialect_is_some_targets() -> None:
    """A parser that is added and fuzzed by nobody is noticed here."""
    sources = Path(__file__).parents[2] / "src" / "moorage"
    targets = "".join(path.read_text() for path in (Path(__file__).parent / "targets").glob("*.py"))
    missing = []
    for folder in ("dialects", "protocols/mqtt", "protocols/amqp", "pki", "query", "identities"):
        for path in sorted((sources / folder).glob("*.py")):
            for line in path.read_text().splitlines():
                if line.startswith(("def parse_", "async def parse_")):
                    name = line.split("def ")[1].split("(")[0]
                    if name not in targets and name not in _WITHIN_OTHERS:
                        missing.append(f"{path.stem}.{name}")
    assert missing == []


# Called by what the targets call.
_WITHIN_OTHERS = frozenset(
    {"parse_object", "parse_policies", "parse_right", "parse_rights", "parse_size", "parse_string", "parse_tpm"}
)


def _breaks(data: bytes) -> None:
    assert b"\xff" not in data


def test_a_driver_that_leads_nobody_finds_what_is_wrong(tmp_path: Path) -> None:
    """The drivers are run as `make fuzz` runs them, on a target that is broken."""
    target = Target("broken", _breaks, lambda: [b"fine"], (b"\xff",))
    with pytest.raises(AssertionError):
        for data in mutants(target, random.Random(1)):
            target.try_one(data)


def _dawdles(data: bytes) -> None:
    assert sum(data) == 0


def test_a_target_that_is_slow_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.targets.model.MOST_S", 0.0)
    with pytest.raises(TooSlow):
        Target("slow", _dawdles, lambda: []).try_one(bytes(10_000))


@pytest.mark.parametrize(
    "blind",
    [True, pytest.param(False, marks=pytest.mark.skipif(not IS_GUIDED, reason="atheris is installed by make fuzz"))],
)
@pytest.mark.timeout(300)  # with instruments in every module it is a while before the first input
def test_a_run_in_a_process_of_its_own_counts_its_inputs(tmp_path: Path, blind: bool) -> None:
    outcome = parsers.fuzz_one("lines", 1, tmp_path, 7, blind=blind)
    assert not outcome.is_broken, outcome.said
    assert outcome.runs > 10


def test_a_run_that_fails_says_so(tmp_path: Path) -> None:
    outcome = parsers.fuzz_one("there is none", 1, tmp_path, 7, blind=True)
    assert outcome.is_broken
    assert "KeyError" in outcome.said
