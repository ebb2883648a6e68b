"""Mutants that no test notices: what `make mutants` found, what is said about them, and the page of both.

The list is written by `make mutants`; why each may live is written by hand in `explained.toml`. An explanation is for
the mutants whose `module function: before -> after` one of its patterns finds, the first that does. A module that was
changed since its mutants were judged is named on the page when that is written, and nothing fails: judging takes long.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.wall.modules import MODULES, ROOT, file_of

__all__ = [
    "PAGE",
    "Explanation",
    "Result",
    "Survivor",
    "changed_since",
    "digest",
    "explain",
    "load_explanations",
    "load_results",
    "page",
    "save",
    "without_changes",
]

PAGE: Final = ROOT / "docs" / "mutants.md"
_RESULTS: Final = ROOT / "tests" / "wall" / "survivors.json"
_EXPLANATIONS: Final = ROOT / "tests" / "wall" / "explained.toml"

_PREFACE: Final = """\
# Mutants

Written by `make mutants`, and the explanations by hand in `tests/wall/explained.toml`; do not edit.

Coverage says what tests reach, not what they would notice. So `make mutants` changes the validator and the authoriser
in small ways (`<` to `<=`, `and` to `or`, an argument left out, a text changed), one at a time, and runs the tests that
reach the place; [mutmut](https://github.com/boxed/mutmut) makes the changes. A change that no test notices is listed
here, and why it may stay so. Tests of the whole hub (`tests/attacks`, `tests/servers`, `tests/conformance`) are not
among those that run: they would notice more. Inputs that Hypothesis thinks of are not either, since they differ from
run to run. Of a module that was changed later only what is new or lived before is judged again.

Constants at the top of a module are no functions, and mutmut leaves them as they are: that every line of the lists of
rules is needed is a test of its own (`tests/unit/pki/test_rules.py`).
"""
_CHANGED: Final = "Changed since its mutants were judged: "
# Characters of a line that are shown on both sides of what a mutant changed.
_AROUND: Final = 48


@dataclass(frozen=True, slots=True)
class Survivor:
    """One mutant: the lines of a function before and after, as Python writes them without their layout."""

    module: str
    function: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.module} {self.function}: {self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the mutants of one module, and the `digest` of what was judged."""

    mutants: int
    survivors: tuple[Survivor, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`why` is one line for the heading, and more for the text below it."""

    patterns: tuple[re.Pattern[str], ...]
    why: str

    def fits(self, survivor: Survivor) -> bool:
        return any(pattern.search(str(survivor)) for pattern in self.patterns)


def digest(source: str) -> str:
    """What stands for a module as it is, its comments and its layout left out."""
    return hashlib.sha256(ast.unparse(ast.parse(source)).encode()).hexdigest()[:16]


def changed_since(results: Mapping[str, Result]) -> list[str]:
    """The modules that are not any more what was judged."""
    return [module for module, found in results.items() if digest((ROOT / file_of(module)).read_text()) != found.source]


def load_results() -> dict[str, Result]:
    raw = json.loads(_RESULTS.read_text())
    return {
        module: Result(
            raw[module]["mutants"],
            tuple(Survivor(module, **each) for each in raw[module]["survivors"]),
            raw[module]["source"],
        )
        for module in raw
    }


def save(results: Mapping[str, Result]) -> None:
    raw: dict[str, Any] = {}
    for module in MODULES:
        if module in results:
            found = results[module]
            survivors = [
                {"function": each.function, "before": each.before, "after": each.after} for each in found.survivors
            ]
            raw[module] = {"mutants": found.mutants, "source": found.source, "survivors": survivors}
    _RESULTS.write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n")


def load_explanations() -> list[Explanation]:
    given = tomllib.loads(_EXPLANATIONS.read_text())["explained"]
    return [Explanation(tuple(map(re.compile, each["patterns"])), each["why"].strip()) for each in given]


def explain(survivors: Iterable[Survivor], explanations: Iterable[Explanation]) -> dict[Survivor, Explanation | None]:
    known = list(explanations)
    return {survivor: next((each for each in known if each.fits(survivor)), None) for survivor in survivors}


def page(results: Mapping[str, Result], explanations: list[Explanation], changed: Collection[str] = ()) -> str:
    lines = [_PREFACE, "| Module | Mutants | Noticed | Listed below |", "|---|---|---|---|"]
    for module, found in results.items():
        alive = len(found.survivors)
        lines.append(f"| `{module.removeprefix('moorage.')}` | {found.mutants} | {found.mutants - alive} | {alive} |")
    alive = sum(len(found.survivors) for found in results.values())
    total = sum(found.mutants for found in results.values())
    lines += [f"| together | {total} | {total - alive} | {alive} |", ""]
    lines += [f"{_CHANGED}`{module.removeprefix('moorage.')}`.\n" for module in changed]
    explained = explain((each for found in results.values() for each in found.survivors), explanations)
    for explanation in explanations:
        lines += _section(explanation.why, [each for each, why in explained.items() if why is explanation])
    lines += _section("Nobody has said yet why these may live.", [each for each, why in explained.items() if not why])
    return "\n".join(lines).rstrip() + "\n"


def without_changes(text: str) -> str:
    """A page without what it says of modules that were changed."""
    return re.sub(rf"^{_CHANGED}.*\n\n", "", text, flags=re.MULTILINE)


def _section(why: str, survivors: list[Survivor]) -> list[str]:
    if not survivors:
        return []
    first, _, rest = why.partition("\n")
    lines = [f"## {first.rstrip('.')}", "", *([rest.strip(), ""] if rest.strip() else [])]
    lines += ["| Where | Before | After |", "|---|---|---|"]
    for each in survivors:
        before, after = _around(each.before, each.after)
        where = f"`{each.module.removeprefix('moorage.')}`: `{each.function}`"
        lines.append(f"| {where} | {_code(before)} | {_code(after)} |")
    return [*lines, ""]


def _around(before: str, after: str) -> tuple[str, str]:
    """Both lines, without most of what they have in common."""
    shorter = min(len(before), len(after))
    same = next((at for at in range(shorter) if before[at] != after[at]), shorter)
    rest = next((at for at in range(shorter - same) if before[-1 - at] != after[-1 - at]), shorter - same)
    begin, end = max(0, same - _AROUND), max(0, rest - _AROUND)
    short = [f"{'... ' * bool(begin)}{text[begin : len(text) - end]}{' ...' * bool(end)}" for text in (before, after)]
    return short[0], short[1]


def _code(text: str) -> str:
    return f"`` {text} ``".replace("|", "\\|") if text else ""
