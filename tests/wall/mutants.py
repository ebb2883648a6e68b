"""`python -m tests.wall.mutants [--minutes N] [MODULE...]`: change the wall in small ways; list what nobody notices.

mutmut makes the mutants and runs the tests that reach each, two at a time and behind everybody else. It works on a copy
of the repository in build/mutants. Which modules are done is written down only for those that were judged to the end;
the exit status is 1 when time ran out before, or when a survivor has no explanation.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.wall.modules import MODULES, ROOT, WITHOUT_CHANCE, file_of
from tests.wall.survivors import PAGE, Result, Survivor, explain, load_explanations, load_results, page, save

__all__ = ["main"]

_AT_ONCE: Final = 2
# The tests of each package, which are run against its mutants.
_TESTS: Final = {
    "pki": ("tests/unit/pki", "tests/unit/certificates"),
    "identities": ("tests/unit/identities", "tests/unit/certificates"),
    "provisioning": ("tests/unit/provisioning",),
}
# A mutant that reads its input for ever would take all there is.
_MEMORY_BYTES: Final = 3 * 1024**3
# Seconds each, and what they reach others reach too.
_SLOW: Final = ("tests/unit/pki/test_pkilint.py", "tests/unit/pki/test_openssl.py", "tests/unit/pki/test_issue.py")
_FOLDER: Final = ROOT / "build" / "mutants"
_ORIGINAL: Final = "mutmut_orig"
# What mutmut writes down for a mutant (its `stats.py`): no test failed, no test reaches it, it was not judged yet.
_SURVIVED: Final = (0,)
_UNREACHED: Final = (5, 33)
_OPEN: Final = (None, 2)

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.wall.mutants")
    parser.add_argument("--minutes", type=float, default=180.0, help="stop after this time  [default: 180]")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="such as moorage.pki.policy  [default: all]")
    asked = parser.parse_args(arguments)
    modules = asked.modules or list(MODULES)
    if unknown := sorted(set(modules) - set(MODULES)):
        parser.error(f"{unknown[0]} is none of {', '.join(MODULES)}")
    # Of this process and of all that it starts.
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    results = load_results()
    open_still: list[str] = []
    end = time.monotonic() + asked.minutes * 60
    for package, tests in _TESTS.items():
        group = [module for module in modules if module.startswith(f"moorage.{package}.")]
        if group:
            _copy(group, tests)
            _run(_FOLDER.with_name(f"mutants-{package}.log"), max(0.0, end - time.monotonic()))
            open_still += [module for module in group if not _take(module, results)]
            save(results)
    explanations = load_explanations()
    PAGE.write_text(page(results, explanations))
    survivors = [survivor for module in modules if module in results for survivor in results[module].survivors]
    unexplained = [each for each, why in explain(survivors, explanations).items() if why is None]
    for module in open_still:
        print(f"{module} is not done: see build/mutants-{module.split('.')[1]}.log")  # noqa: T201  # a command prints
    for survivor in unexplained:
        print(f"nobody notices, nobody explains: {survivor.module}: {survivor}")  # noqa: T201  # as above
    print(f"{len(survivors)} survivors, {len(unexplained)} unexplained; written to {PAGE.relative_to(ROOT)}")  # noqa: T201
    return int(bool(open_still or unexplained))


def _copy(modules: Sequence[str], tests: Sequence[str]) -> None:
    """What is needed of the repository, and what mutmut is told."""
    shutil.rmtree(_FOLDER, ignore_errors=True)
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, _FOLDER / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    told = {
        "source_paths": ["src"],
        "only_mutate": [file_of(module) for module in modules],
        "pytest_add_cli_args_test_selection": list(tests),
        "pytest_add_cli_args": [*WITHOUT_CHANCE, "-x", "-q", *(f"--ignore={file}" for file in _SLOW)],
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in told.items()]
    project = (ROOT / "pyproject.toml").read_text()
    (_FOLDER / "pyproject.toml").write_text("\n".join([project, "[tool.mutmut]", *lines, ""]))


def _run(log_file: Path, seconds: float) -> None:
    """Let mutmut judge for so long; what it judged until then is on disk.

    It shows how far it is on a terminal, and otherwise writes that into `log_file`.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(_AT_ONCE)]
    with log_file.open("wb") as log:
        shown = None if sys.stdout.isatty() else log
        # A group of its own, so that what it has started ends with it.
        running = subprocess.Popen(command, cwd=_FOLDER, env=environment, stdout=shown, stderr=shown, process_group=0)
        try:
            running.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGINT)
                running.wait()


def _take(module: str, results: dict[str, Result]) -> bool:
    """Read what was found about `module` into `results`; False when it is not done."""
    file = _FOLDER / "mutants" / file_of(module)
    meta = Path(f"{file}.meta")
    if not meta.exists():
        return False
    found: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
    if not found or any(code in _OPEN for code in found.values()):
        return False
    functions = dict(_functions(ast.parse(file.read_text())))
    survivors: list[Survivor] = []
    for key, code in found.items():
        name = key.rpartition(".")[2]
        original = f"{name.rpartition('mutmut_')[0]}{_ORIGINAL}"
        before, after = _changed(functions[original], functions[name])
        if code in (*_SURVIVED, *_UNREACHED):
            survivors.append(Survivor(module, _shown(name), before, after))
    results[module] = Result(len(found), tuple(sorted(survivors, key=str)))
    return True


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
