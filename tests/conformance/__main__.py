"""`python -m tests.conformance FILE`: both suites and the mutants; prints the score, writes docs/conformance.md.

The exit status is 1 when anything is wrong, or when FILE, a compiled x509-limbo file, is not there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.limbo import NotAvailable
from tests.conformance.report import document
from tests.conformance.suites import MUTANTS, honest, run

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or not arguments[0]:
        print("usage: python -m tests.conformance LIMBO_JSON")  # noqa: T201  # a command prints
        return 2
    file = Path(arguments[0])
    try:
        scores = run(file, honest)
        mutants = {name: run(file, mutant) for name, mutant in MUTANTS.items()}
    except NotAvailable as error:
        print(f"failed: {error}")  # noqa: T201  # a command prints
        return 1
    for score in scores:
        print("\n".join(score.lines()))  # noqa: T201  # a command prints
    wrong = any(score.problems for score in scores)
    for name, found in mutants.items():
        caught = all(score.problems for score in found)
        wrong |= not caught
        print(f"a validator that {name}: " + ("fails, as it has to" if caught else "PASSES"))  # noqa: T201  # as above
    DOCUMENT.write_text(document(scores))
    print(f"{'FAILED' if wrong else 'passed'}; written to {DOCUMENT.relative_to(DOCUMENT.parents[1])}")  # noqa: T201  # as above
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
