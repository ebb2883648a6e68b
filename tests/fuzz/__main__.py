"""`make fuzz`: 2,000 generated requests to each operation, in a process for each core; ends by itself, 1 when one of
them got an answer that it should not have."""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.fuzz.campaign import campaign_on, labels_of_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="to each operation")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="operations whose name contains this")
    given = parser.parse_args()
    began = time.monotonic()
    labels = [label for label in asyncio.run(labels_of_all()) if given.only in label]
    say(f"{len(labels)} operations, {given.requests} requests each, seed {given.seed}")
    wrong: list[str] = []
    total, answers = 0, dict[int, int]()
    workers = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        running = [pool.submit(campaign_on, label, given.requests, given.seed) for label in labels]
        for number, done in enumerate(as_completed(running), 1):
            label, findings, took_s = done.result()
            total += findings.requests
            for status, count in findings.answers.items():
                answers[status] = answers.get(status, 0) + count
            outcome = "; ".join(kind for _, kind in findings.wrong) or "fine"
            say(f"{number:3}/{len(labels)} {label}: {findings.requests} requests in {took_s:.1f} s, {outcome}")
            if findings.wrong:
                wrong.append(findings.report())
    say(f"{total} requests in {time.monotonic() - began:.0f} s: {_counts(answers)}")
    for report in wrong:
        say(report)
    say(f"FAILED: {len(wrong)} operations, seed {given.seed}" if wrong else "passed")
    return 1 if wrong else 0


def _counts(answers: dict[int, int]) -> str:
    return ", ".join(f"{count} times {status}" for status, count in sorted(answers.items()))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
