"""What became of the cases of one suite, and whether that is good enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["MAX_SECONDS", "MAX_WAIVERS", "Case", "Score", "judge"]

MAX_SECONDS: Final = 1.0
MAX_WAIVERS: Final = 12

ACCEPTED: Final = ""


@dataclass(frozen=True)
class Case:
    """`verdict` judges it: empty when it is accepted, otherwise the reason of the refusal.

    `excuse` says why its being accepted says nothing, where that can be seen from the case itself.
    """

    name: str
    must_succeed: bool
    verdict: Callable[[], str]
    excuse: str = ""


@dataclass
class Score:
    """`left_out` concern nobody who validates device chains; `waived` must succeed and are refused on purpose."""

    suite: str
    refused: int = 0
    accepted: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    waived: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")

    @property
    def total(self) -> int:
        return self.refused + self.accepted + len(self.left_out) + len(self.waived) + len(self.problems)

    def lines(self) -> list[str]:
        return [
            f"{self.suite}: {self.total} cases",
            f"  {self.refused} that must fail are refused",
            f"  {self.accepted} that must succeed are accepted",
            f"  {len(self.left_out)} are left out, {len(self.waived)} of those that must succeed are waived",
            f"  {len(self.problems)} wrong",
            *(f"    {problem}" for problem in self.problems[:40]),
            f"  the slowest took {self.slowest[0]:.3f} s of CPU time ({self.slowest[1]})",
        ]


def judge(suite: str, cases: Iterable[Case], left_out: Mapping[str, str], waivers: Mapping[str, str]) -> Score:
    """Run every case, also those of the lists, which have to differ as they say."""
    score = Score(suite)
    for case in cases:
        began = time.process_time()
        verdict = case.verdict()
        took = time.process_time() - began
        score.slowest = max(score.slowest, (took, case.name))
        agrees = (verdict == ACCEPTED) is case.must_succeed
        if took > MAX_SECONDS:
            score.problems.append(f"{case.name}: took {took:.2f} s")
        elif case.name in left_out and not agrees:
            score.left_out[case.name] = left_out[case.name]
        elif case.excuse and not agrees and case.name not in waivers:
            score.left_out[case.name] = case.excuse
        elif case.name in waivers and case.must_succeed and not agrees:
            score.waived[case.name] = waivers[case.name]
        elif case.name in left_out or case.name in waivers:
            score.problems.append(f"{case.name}: is on a list of differences and does not differ as it says")
        elif not agrees:
            score.problems.append(
                f"{case.name}: " + ("wrongly accepted" if verdict == ACCEPTED else f"refused: {verdict}")
            )
        elif case.must_succeed:
            score.accepted += 1
        else:
            score.refused += 1
    if len(score.waived) > MAX_WAIVERS:
        score.problems.append(f"{len(score.waived)} waivers; at most {MAX_WAIVERS} are")
    if score.total == 0:
        score.problems.append("no case was run")
    return score
