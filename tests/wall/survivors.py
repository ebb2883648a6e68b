"""Mutants that no test notices: what `make mutants` found, what is said about them, and the page of both.

The list is written by `make mutants`; why each may live is written by hand in `explained.toml`. An explanation is for
the mutants of a module whose `function: before -> after` its pattern finds, the first that does.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from tests.wall.modules import MODULES, ROOT

__all__ = ["PAGE", "Explanation", "Result", "Survivor", "explain", "load_explanations", "load_results", "page", "save"]

PAGE: Final = ROOT / "docs" / "mutants.md"
_RESULTS: Final = ROOT / "tests" / "wall" / "survivors.json"
_EXPLANATIONS: Final = ROOT / "tests" / "wall" / "explained.toml"

_PREFACE: Final = """\
# Mutants

Written by `make mutants`, and the explanations by hand in `tests/wall/explained.toml`; do not edit.

Coverage says what tests reach, not what they would notice. So `make mutants` changes the validator and the authoriser
in small ways (`<` to `<=`, `and` to `or`, an argument left out, a text changed), one at a time, and runs the tests that
reach the place ([mutmut](https://github.com/boxed/mutmut)). A change that no test notices is listed here, and why it
may stay so. Tests of the whole hub (`tests/attacks`, `tests/servers`, `tests/conformance`) are not among those that
run: they would notice more. Inputs that Hypothesis thinks of are not either, since they differ from run to run.

Constants at the top of a module are no functions, and mutmut leaves them as they are: that every line of the lists of
rules is needed is a test of its own (`tests/unit/pki/test_rules.py`).
"""


@dataclass(frozen=True, slots=True)
class Survivor:
    """One mutant: the lines of a function before and after, as Python writes them without their layout."""

    module: str
    function: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.function}: {self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the mutants of one module."""

    mutants: int
    survivors: tuple[Survivor, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """`module` is the end of a module's name, or empty for any."""

    module: str
    pattern: re.Pattern[str]
    why: str

    def fits(self, survivor: Survivor) -> bool:
        return survivor.module.endswith(self.module) and self.pattern.search(str(survivor)) is not None


def load_results() -> dict[str, Result]:
    raw = json.loads(_RESULTS.read_text())
    return {
        module: Result(found["mutants"], tuple(Survivor(module, **each) for each in found["survivors"]))
        for module, found in raw.items()
    }


def save(results: Mapping[str, Result]) -> None:
    raw: dict[str, Any] = {}
    for module in MODULES:
        if module in results:
            found = [asdict(each) for each in results[module].survivors]
            for each in found:
                del each["module"]
            raw[module] = {"mutants": results[module].mutants, "survivors": found}
    _RESULTS.write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n")


def load_explanations() -> list[Explanation]:
    given = tomllib.loads(_EXPLANATIONS.read_text())["explained"]
    return [Explanation(each.get("module", ""), re.compile(each["pattern"]), each["why"].strip()) for each in given]


def explain(survivors: Iterable[Survivor], explanations: Iterable[Explanation]) -> dict[Survivor, Explanation | None]:
    known = list(explanations)
    return {survivor: next((each for each in known if each.fits(survivor)), None) for survivor in survivors}


def page(results: Mapping[str, Result], explanations: list[Explanation]) -> str:
    lines = [_PREFACE, "| Module | Mutants | Noticed | Listed below |", "|---|---|---|---|"]
    for module, found in results.items():
        alive = len(found.survivors)
        lines.append(f"| `{module.removeprefix('moorage.')}` | {found.mutants} | {found.mutants - alive} | {alive} |")
    alive = sum(len(found.survivors) for found in results.values())
    total = sum(found.mutants for found in results.values())
    lines += [f"| together | {total} | {total - alive} | {alive} |", ""]
    explained = explain((each for found in results.values() for each in found.survivors), explanations)
    for explanation in explanations:
        lines += _section(explanation.why, [each for each, why in explained.items() if why is explanation])
    lines += _section("Nobody has said yet why these may live.", [each for each, why in explained.items() if not why])
    return "\n".join(lines).rstrip() + "\n"


def _section(why: str, survivors: list[Survivor]) -> list[str]:
    if not survivors:
        return []
    first, _, rest = why.partition("\n")
    lines = [f"## {first}", "", *([rest.strip(), ""] if rest.strip() else [])]
    functions = Counter((each.module.removeprefix("moorage."), each.function) for each in survivors)
    if all(each.before == "" for each in survivors):
        return [*lines, *(f"- `{module}`: `{name}`, {count}" for (module, name), count in functions.items()), ""]
    lines += ["| Where | Before | After |", "|---|---|---|"]
    lines += [
        f"| `{each.module.removeprefix('moorage.')}`: `{each.function}` | {_code(each.before)} | {_code(each.after)} |"
        for each in survivors
    ]
    return [*lines, ""]


def _code(text: str) -> str:
    return f"`` {text} ``".replace("|", "\\|") if text else ""
