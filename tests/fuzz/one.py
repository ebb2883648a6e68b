"""`python -m tests.fuzz.one TARGET`: one target, for some seconds, in a process of its own.

With `atheris` (libFuzzer, led by which branches an input reaches) where it is installed, else without being led by
anything. The last line tells how many inputs there were; the exit status is 1 when one of them broke the target, and
the input then lies in the folder that was given.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import logging
import random
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

__all__ = ["IS_GUIDED", "main"]

IS_GUIDED: Final = importlib.util.find_spec("atheris") is not None
# What one input may hold, the interpreter and the libraries included.
_MOST_MB: Final = 1024
# An input that does not end at all; `TooSlow` says so of those that do.
_HANGS_S: Final = 60


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.one", description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--folder", type=Path, required=True, help="for what is found")
    parser.add_argument("--blind", action="store_true", help="without atheris")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 2**31))
    given = parser.parse_args()
    # What is logged is not looked at, and nobody wants to read it; a target that does listens by itself.
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("error")
    given.folder.mkdir(parents=True, exist_ok=True)
    if IS_GUIDED and not given.blind:
        guided(given.target, given.seconds, given.folder, given.seed)
    return blind(given.target, given.seconds, given.folder, given.seed)


def guided(name: str, seconds: int, folder: Path, seed: int) -> NoReturn:
    """libFuzzer ends the process."""
    atheris = importlib.import_module("atheris")
    # What reads bytes on our behalf shows its branches too; the rest of what is imported does not.
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with atheris.instrument_imports(include=["moorage", "h11", "wsproto"]):
            targets = importlib.import_module("tests.fuzz.targets")
    from tests.fuzz.kept import kept_inputs
    from tests.fuzz.mutate import other_document

    target = targets.find(name)
    found = folder / "corpus"
    found.mkdir(exist_ok=True)
    for data in [*target.seeds(), *(path.read_bytes() for path in kept_inputs(target))]:
        (found / hashlib.sha1(data).hexdigest()).write_bytes(data)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    arguments = [
        name,
        f"-max_total_time={seconds}",
        f"-max_len={target.most_bytes}",
        f"-timeout={_HANGS_S}",
        f"-rss_limit_mb={_MOST_MB}",
        f"-artifact_prefix={folder}/",
        f"-dict={words}",
        f"-seed={seed}",
        "-print_final_stats=1",
        str(found),
    ]
    options: dict[str, Callable[..., bytes]] = {}
    if target.is_json:

        def mutated(data: bytes, most: int, number: int) -> bytes:
            chance = random.Random(number)
            made = other_document(data, chance) if chance.random() < 0.5 else b""
            return made if 0 < len(made) <= most else _bytes(atheris.Mutate(data, most))

        options["custom_mutator"] = mutated
    atheris.Setup(arguments, target.try_one, **options)
    atheris.Fuzz()
    raise AssertionError("libFuzzer does not return")


def blind(name: str, seconds: int, folder: Path, seed: int) -> int:
    from tests.fuzz.kept import kept_inputs
    from tests.fuzz.mutate import mutants
    from tests.fuzz.targets import find

    target = find(name)
    until = time.monotonic() + seconds
    count = 0
    kept = [path.read_bytes() for path in kept_inputs(target)]
    for data in [*target.seeds(), *kept]:
        target.try_one(data)
    for data in mutants(target, random.Random(seed), kept):
        count += 1
        try:
            target.try_one(data)
        except Exception:
            file = folder / f"crash-{hashlib.sha1(data).hexdigest()}"
            file.write_bytes(data)
            _say(f"{traceback.format_exc()}\n{file}\nDone {count} runs, seed {seed}")
            return 1
        if time.monotonic() > until:
            break
    _say(f"Done {count} runs, seed {seed}")
    return 0


def _escaped(word: bytes) -> str:
    """As libFuzzer reads dictionaries."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word)


def _bytes(made: Any) -> bytes:
    return bytes(made)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
