"""`python -m tests.wall.branches`: fails where a branch of the wall is reached by no test of its own packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.wall.modules import MODULES, ROOT, TESTS, WITHOUT_CHANCE, file_of

__all__ = ["main"]

_COVERAGE = (sys.executable, "-m", "coverage")


def main() -> int:
    files = [file_of(module) for module in MODULES]
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    environment = dict(os.environ, COVERAGE_FILE=str(folder / "coverage"))
    measure = (*_COVERAGE, "run", "--branch", f"--include={','.join(files)}", "-m", "pytest", "-q", *WITHOUT_CHANCE)
    if subprocess.run([*measure, *TESTS], cwd=ROOT, env=environment, check=False).returncode:
        return 1
    report = folder / "branches.json"
    subprocess.run([*_COVERAGE, "json", "-q", "-o", str(report)], cwd=ROOT, env=environment, check=True)
    measured = json.loads(report.read_text())["files"]
    wrong = [line for file in files for line in _missing(file, measured)]
    for line in wrong:
        print(line)  # noqa: T201  # a command prints
    if not wrong:
        branches = sum(measured[file]["summary"]["num_branches"] for file in files)
        print(f"all {branches} branches of {len(files)} files are reached")  # noqa: T201  # as above
    return int(bool(wrong))


def _missing(file: str, measured: dict[str, dict[str, list[object]]]) -> list[str]:
    """What no test reaches of `file`, a line each."""
    if file not in measured:
        return [f"{file} was not imported"]
    found = measured[file]
    return [f"{file}:{line} is not reached" for line in found["missing_lines"]] + [
        f"{file}: the branch {branch} is not taken" for branch in found["missing_branches"]
    ]


if __name__ == "__main__":
    sys.exit(main())
