"""A pytest plugin that judges mutants: all in one session, each in a process of its own.

What mutmut makes of a module holds every mutant of it; which one is active is said in the environment. So the tests are
collected once, run once to see which of them reach what, and then for each mutant a fork runs those that reach its
function until one fails: first those of its module, then the quickest. Two mutants that are none come before all: with
the one every test has to pass, with the other none.

`JUDGE` in the environment names a folder: `asked.json` says what is to be judged, and each verdict becomes a line at
the end of `verdicts.txt` at once, so that none is lost.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import pytest
from mutmut.state import state

__all__ = ["Asked", "Verdict", "forget", "pytest_runtest_makereport", "pytest_runtestloop", "read_verdicts"]

Verdict = Literal["noticed", "alive", "unreached"]

# In the environment of mutmut's trampolines: what is active is the original, a failure of everything, or a recording.
_ACTIVE: Final = "MUTANT_UNDER_TEST"
_NONE, _ALL_FAIL, _RECORD = "", "fail", "stats"
# A mutant that never ends uses more than this many times what its tests took, and so many seconds besides.
_TIMES: Final = 10
_BESIDES: Final = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """Names of mutants, each with what stands for it from one run to the next; `until` is a time since 1970."""

    mutants: Mapping[str, str]
    processes: int
    until: float

    def write(self, folder: Path) -> None:
        told = {"mutants": dict(self.mutants), "processes": self.processes, "until": self.until}
        (folder / "asked.json").write_text(json.dumps(told))


def read_verdicts(folder: Path) -> dict[str, Verdict]:
    """What was found, by what stands for a mutant."""
    file = folder / "verdicts.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return {stamp: verdict for verdict, stamp in map(str.split, lines)}  # type: ignore[misc]  # written below


def forget(folder: Path, stamps: Collection[str]) -> None:
    """So that they are judged again."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = [f"{verdict} {stamp}\n" for stamp, verdict in read_verdicts(folder).items() if stamp not in stamps]
    (folder / "verdicts.new").write_text("".join(kept))
    (folder / "verdicts.new").replace(folder / "verdicts.txt")


class _Here:
    """Whether this process is a mutant's."""

    is_mutant = False


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> None:
    # Before the report is written, which would take longer than the test.
    if _Here.is_mutant and call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
        os._exit(1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    folder = Path(os.environ["JUDGE"])
    asked = Asked(**json.loads((folder / "asked.json").read_text()))
    reaching, seconds = _record(session.items)
    if session.testsfailed:
        pytest.exit("a test fails without any mutant", 1)
    every = sorted(session.items, key=lambda item: seconds[item])
    for control, verdict in ((_NONE, "alive"), (_ALL_FAIL, "noticed")):
        if _verdict(os.waitpid(_fork(control, every, 600), 0)[1]) != verdict:
            pytest.exit(f"{control!r}, which is no mutant, would have to be {verdict}", 1)
    with (folder / "verdicts.txt").open("a") as file:
        for name, found in _judge(asked, reaching, seconds):
            print(found, asked.mutants[name], file=file, flush=True)
    return True


def _record(items: Sequence[pytest.Item]) -> tuple[Mapping[str, list[pytest.Item]], Mapping[pytest.Item, float]]:
    """Which tests reach each function, and how long each takes."""
    reaching: dict[str, list[pytest.Item]] = defaultdict(list)
    seconds: dict[pytest.Item, float] = {}
    os.environ[_ACTIVE] = _RECORD
    for item, following in pairwise((*items, None)):
        assert item is not None
        state()._stats.clear()
        begin = time.perf_counter()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        seconds[item] = time.perf_counter() - begin
        for function in state()._stats:
            reaching[function].append(item)
    os.environ[_ACTIVE] = _NONE
    return reaching, seconds


def _judge(
    asked: Asked, reaching: Mapping[str, list[pytest.Item]], seconds: Mapping[pytest.Item, float]
) -> Iterator[tuple[str, Verdict]]:
    running: dict[int, str] = {}
    for name in asked.mutants:
        function = name.partition("__mutmut_")[0]
        own = f"test_{function.split('.')[-2]}.py"
        tests = sorted(reaching.get(function, ()), key=lambda item: (item.path.name != own, seconds[item]))
        if not tests:
            yield name, "unreached"
            continue
        while len(running) >= asked.processes:
            yield _one_of(running)
        if time.time() > asked.until:
            break
        running[_fork(name, tests, _TIMES * sum(seconds[item] for item in tests) + _BESIDES)] = name
    while running:
        yield _one_of(running)


def _one_of(running: dict[int, str]) -> tuple[str, Verdict]:
    pid, status = os.wait()
    return running.pop(pid), _verdict(status)


def _verdict(status: int) -> Verdict:
    return "alive" if status == 0 else "noticed"


def _fork(name: str, tests: Sequence[pytest.Item], seconds: float) -> int:
    """Run `tests` with this mutant in a process whose id is returned; what it prints is of no interest."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        _Here.is_mutant = True
        os.environ[_ACTIVE] = name
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        for item, following in pairwise((*tests, None)):
            assert item is not None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    except BaseException:  # whatever it is, the mutant caused it, and the process ends here
        os._exit(1)
    os._exit(0)
