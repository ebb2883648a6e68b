"""`python -m tests.wall.mutants [MODULE...]`: change the wall in small ways; list what nobody notices.

mutmut makes the mutants; `judging.py` runs the tests that reach each, behind everybody else, on a copy of the
repository in build/mutants. Verdicts stay: a run that was stopped is taken up where it was, and of functions that are
as they were only the mutants that lived are judged again (all with `--fresh`, none with `--open`). What was found is
written down module by module, for those that are judged to the end. The exit status is 1 when time ran out before, or
when a survivor has no explanation. `--page` only writes the page again.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mutmut.mutation.file_mutation import mutate_file_contents

from tests.wall.judging import Asked, forget, read_verdicts
from tests.wall.modules import MODULES, MUTATED, ROOT, WITHOUT_CHANCE, file_of
from tests.wall.survivors import (
    PAGE,
    Result,
    Survivor,
    changed_since,
    digest,
    explain,
    load_explanations,
    load_results,
    page,
    save,
)

__all__ = ["main"]

# The tests of each package, which are run against its mutants.
_TESTS: Final = {
    "pki": ("tests/unit/pki", "tests/unit/certificates"),
    "identities": ("tests/unit/identities", "tests/unit/certificates"),
    "provisioning": ("tests/unit/provisioning",),
    "certificates": ("tests/unit/certificates",),
}
# A mutant that reads its input for ever would take all there is.
_MEMORY_BYTES: Final = 3 * 1024**3
# Seconds each, or with servers that do not live on in a fork; what they reach of the wall others reach too.
_NOT_RUN: Final = (
    "tests/unit/pki/test_pkilint.py",
    "tests/unit/pki/test_openssl.py",
    "tests/unit/pki/test_issue.py",
    "tests/unit/provisioning/test_webhooks.py",
)
# Nobody reads why a mutant failed.
_PLAIN: Final = ("-q", "-s", "--assert=plain")
_FOLDER: Final = ROOT / "build" / "mutants"
_VERDICTS: Final = ROOT / "build" / "verdicts"
_ORIGINAL: Final = "mutmut_orig"

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class _Mutated:
    """A module with all its mutants in it, and their names."""

    module: str
    source: str
    code: str
    names: Sequence[str]
    functions: Mapping[str, _Function]

    def changed(self, name: str) -> tuple[str, str]:
        """The lines that differ from the original."""
        return _changed(self.functions[f"{name.rpartition('mutmut_')[0]}{_ORIGINAL}"], self.functions[name])

    def stamps(self) -> dict[str, str]:
        """What stands for each mutant as it is, whatever its number, by its name."""
        return {
            name: digest("\n".join([repr((self.module, _shown(name))), *_lines(self.functions[name])]))
            for name in self.names
        }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.wall.mutants")
    parser.add_argument("--minutes", type=float, default=180.0, help="stop after this time  [default: 180]")
    parser.add_argument("--processes", type=int, default=2, help="mutants judged at a time  [default: 2]")
    parser.add_argument("--fresh", action="store_true", help="judge those that were noticed before, too")
    parser.add_argument("--open", action="store_true", help="judge those alone that were never judged")
    parser.add_argument("--page", action="store_true", help="write the page from what was found before")
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help="such as moorage.pki.policy  [default: all that have to be]"
    )
    asked = parser.parse_args(arguments)
    modules = asked.modules or list(MUTATED)
    if unknown := sorted(set(modules) - set(MODULES)):
        parser.error(f"{unknown[0]} is none of {', '.join(MODULES)}")
    # Of this process and of all that it starts.
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    until = time.time() + asked.minutes * 60
    open_still: list[str] = []
    for package in () if asked.page else dict.fromkeys(module.split(".")[1] for module in modules):
        group = [_mutate(module) for module in modules if module.split(".")[1] == package]
        # Of those that lived: there may be more tests now.
        again = {"noticed", "alive", "unreached"} if asked.fresh else set() if asked.open else {"alive", "unreached"}
        found = _judge(package, group, asked.processes, until, again)
        save({**load_results(), **found})
        open_still += [mutated.module for mutated in group if mutated.module not in found]
    results = load_results()
    explanations = load_explanations()
    PAGE.write_text(page(results, explanations, changed_since(results)))
    survivors = [survivor for module in modules if module in results for survivor in results[module].survivors]
    unexplained = [each for each, why in explain(survivors, explanations).items() if why is None]
    for module in open_still:
        print(f"{module} is not done: see {_log(module.split('.')[1]).relative_to(ROOT)}")  # noqa: T201  # a command prints
    for survivor in unexplained:
        print(f"nobody notices, nobody explains: {survivor}")  # noqa: T201  # as above
    written = PAGE.relative_to(ROOT)
    print(f"{len(survivors)} survivors, {len(unexplained)} unexplained; written to {written}")  # noqa: T201  # as above
    return int(bool(open_still or unexplained))


def _log(package: str) -> Path:
    return _VERDICTS / f"{package}.log"


def _mutate(module: str) -> _Mutated:
    source = (ROOT / file_of(module)).read_text()
    made = mutate_file_contents(file_of(module), source)
    return _Mutated(module, source, made.code, made.mutant_names, dict(_functions(ast.parse(made.code))))


def _judge(
    package: str, group: Sequence[_Mutated], processes: int, until: float, again: Collection[str]
) -> dict[str, Result]:
    """What became of the mutants of each module, of those that are judged to the end."""
    for part in ("src", "tests"):
        shutil.rmtree(_FOLDER / part, ignore_errors=True)
        shutil.copytree(ROOT / part, _FOLDER / part, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", _FOLDER)
    for mutated in group:
        (_FOLDER / file_of(mutated.module)).write_text(mutated.code)
    stamps = {mutated.module: mutated.stamps() for mutated in group}
    every = {f"{module}.{name}": stamp for module, named in stamps.items() for name, stamp in named.items()}
    folder = _VERDICTS / package
    before = read_verdicts(folder)
    forget(folder, {stamp for stamp in every.values() if before.get(stamp) in again})
    known = read_verdicts(folder)
    Asked({name: stamp for name, stamp in every.items() if stamp not in known}, processes, until).write(folder)
    command = [sys.executable, "-m", "pytest", "-p", "tests.wall.judging", *WITHOUT_CHANCE, *_PLAIN, *_TESTS[package]]
    command += [f"--ignore={file}" for file in _NOT_RUN]
    environment = {**os.environ, "PYTHONPATH": str(_FOLDER / "src"), "JUDGE": str(folder)}
    with _log(package).open("wb") as log:
        subprocess.run(command, cwd=_FOLDER, env=environment, stdout=log, stderr=log, check=False)
    found = read_verdicts(folder)
    results: dict[str, Result] = {}
    for mutated in group:
        verdicts = {name: found.get(stamp) for name, stamp in stamps[mutated.module].items()}
        if None not in verdicts.values():
            alive = [name for name, verdict in verdicts.items() if verdict != "noticed"]
            results[mutated.module] = _result(mutated, alive)
    return results


def _result(mutated: _Mutated, alive: Sequence[str]) -> Result:
    survivors = [Survivor(mutated.module, _shown(name), *mutated.changed(name)) for name in alive]
    return Result(len(mutated.names), tuple(sorted(survivors, key=str)), digest(mutated.source))


def _functions(tree: ast.AST) -> Iterator[tuple[str, _Function]]:
    for node in ast.walk(tree):
        if isinstance(node, _Function):
            yield node.name, node


def _changed(before: _Function, after: _Function) -> tuple[str, str]:
    """The lines that differ, as Python writes them without their layout."""
    old, new = (_lines(node) for node in (before, after))
    lines = [line for line in difflib.ndiff(old, new) if line[:2] in ("- ", "+ ")]
    gone, come = (" / ".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return gone, come


def _lines(function: _Function) -> list[str]:
    function.name = "_"
    return ast.unparse(function).splitlines()


def _shown(name: str) -> str:
    """`check_ca` of `x_check_ca__mutmut_3`, and `Validator.validate` of a method, where the class stands in `ǁ`."""
    plain = name.rpartition("__mutmut_")[0]
    parts = plain.split("ǁ")
    return ".".join(part for part in parts[1:]) if len(parts) > 1 else plain.removeprefix("x_")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
