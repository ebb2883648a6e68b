"""`make fuzz`, its first half: every target of `tests/fuzz/targets` for some seconds, a process for each core; ends by
itself, 1 when an input broke one of them."""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final, NamedTuple

from tests.fuzz.kept import KEPT
from tests.fuzz.one import IS_GUIDED
from tests.fuzz.targets import ALL

__all__ = ["Outcome", "fuzz_one", "main"]

# What is found stays, and the next run begins with it.
FOUND: Final = Path("build/fuzz")
# Beside the time it was given: imports with instruments, and the inputs it begins with.
_SPARE_S: Final = 180
_COUNT: Final = re.compile(r"^Done (\d+) runs", re.MULTILINE)
_REACHED: Final = re.compile(r"cov: (\d+)")


class Outcome(NamedTuple):
    """`said` is the end of what the process wrote; `input` is the file that broke the target."""

    name: str
    runs: int
    reached: int
    took_s: float
    said: str
    is_broken: bool
    input: Path | None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.parsers", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="for each target")
    parser.add_argument("--only", default="", help="targets whose name contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 2**31))
    given = parser.parse_args()
    names = [target.name for target in ALL if given.only in target.name]
    how = "led by what they reach" if IS_GUIDED else "without atheris: not led by anything"
    say(f"{len(names)} parsers, {given.seconds} s each, {given.jobs} at a time, seed {given.seed}; {how}")
    broken: list[Outcome] = []
    with ThreadPoolExecutor(given.jobs) as pool:
        running = [pool.submit(fuzz_one, name, given.seconds, FOUND / name, given.seed) for name in names]
        for number, done in enumerate(as_completed(running), 1):
            outcome = done.result()
            reached = f", {outcome.reached} branches" if outcome.reached else ""
            verdict = "BROKEN" if outcome.is_broken else "fine"
            what = f"{outcome.runs} inputs in {outcome.took_s:.0f} s{reached}, {verdict}"
            say(f"{number:3}/{len(names)} {outcome.name}: {what}")
            if outcome.is_broken:
                broken.append(outcome)
    for outcome in broken:
        say(f"\n{outcome.name}:\n{outcome.said}")
        if outcome.input is not None:
            say(f"keep it, once it is mended: mv {outcome.input} {KEPT / outcome.name}/NAME")
    say(f"FAILED: {', '.join(outcome.name for outcome in broken)}" if broken else "passed")
    return 1 if broken else 0


def fuzz_one(name: str, seconds: int, folder: Path, seed: int, *, blind: bool = False) -> Outcome:
    """In a process of its own, which nothing that an input does can outlive."""
    command = [sys.executable, "-m", "tests.fuzz.one", name, "--seconds", str(seconds), "--folder", str(folder)]
    command += ["--seed", str(seed)] + (["--blind"] if blind else [])
    before = set(folder.glob("*"))
    began = time.monotonic()
    try:
        ended = subprocess.run(command, capture_output=True, timeout=seconds + _SPARE_S, check=False)
        said, status = (ended.stdout + ended.stderr).decode("utf-8", "replace"), ended.returncode
    except subprocess.TimeoutExpired as late:
        said, status = (late.stderr or b"").decode("utf-8", "replace") + "\nit did not end", 1
    found = sorted(set(folder.glob("*-*")) - before)
    counts, reached = _COUNT.findall(said), _REACHED.findall(said)
    return Outcome(
        name,
        int(counts[-1]) if counts else 0,
        int(reached[-1]) if reached else 0,
        time.monotonic() - began,
        said[-4000:],
        status != 0,
        found[0] if found else None,
    )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
