"""`make chaos`: fifty times kill -9 under load; ends by itself, 1 when something that was acknowledged is lost."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.campaign import Campaign, Round
from tests.hubs import Hub, running_hub


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="moorage-chaos-"))
    say(f"{given.rounds} rounds, seed {given.seed}, hub in {folder}")
    began = time.monotonic()
    try:
        with running_hub(folder / "hub") as hub:
            asyncio.run(play(hub, folder, given.rounds, given.seed))
    except AssertionError as error:
        say(f"FAILED after {time.monotonic() - began:.0f} s, what is left is in {folder}: {error}")
        return 1
    say(f"passed in {time.monotonic() - began:.0f} s")
    return 0


async def play(hub: Hub, folder: Path, count: int, seed: int) -> None:
    campaign = Campaign(hub, folder, seed=seed)
    rounds: list[Round] = []
    for _ in range(count):
        done = await campaign.round()
        rounds.append(done)
        counts = ", ".join(f"{number} {name}" for name, number in done.acknowledged.items())
        say(f"{done.number:3}: killed after {done.killed_after_s:.2f} s, ready in {done.ready_s:.2f} s; kept {counts}")
    await campaign.verify_all()
    ready = sorted(done.ready_s for done in rounds)
    totals = ", ".join(f"{load.acknowledged} {load.name}" for load in campaign.loads)
    say(f"acknowledged and found again: {totals}")
    say(f"ready after kill -9: median {ready[len(ready) // 2]:.2f} s, longest {ready[-1]:.2f} s")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
