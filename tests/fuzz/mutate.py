"""Inputs made of others, without knowing what is done with them: for machines that have no `atheris`, and for the few
that `make test` tries. `guided` finds more in the same time."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tests.fuzz.targets.model import Target

__all__ = ["mutants", "other_document"]

# What parsers meet at their limits, in one, two, four and eight bytes.
_EDGES: Final = tuple(
    value.to_bytes(size, "big")
    for size in (1, 2, 4, 8)
    for value in (0, 1, 0x7F, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
)
_TEXTS: Final = (
    b"",
    b"\0",
    b"%",
    b"%25",
    b"\xff",
    b"\xed\xa0\x80",
    b"\r\n",
    b'"',
    b"[" * 80,
    b"9" * 400,
    b"-1",
    b"1e999",
)


# What stands where another kind of value was meant.
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 7, 2**31, 2**63, 1.5, 1e300),
    *("", "a", "$version", "\0", "ü" * 200, "x" * 3000, "true", "7", "-1", "*"),
    *("2030-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "PT1H", "https://a/b", "file:a"),
    *([], [[]], [None], ["a", 1], {}, {"a": {}}, {"": 1}, {"$x": 1}, {"a.b": None}, {"a": [{"a": 1}]}),
)


def mutants(target: Target, chance: random.Random, seeds: Sequence[bytes] = ()) -> Iterator[bytes]:
    """Without end: one of the target's seeds and `seeds`, or of what was made of them, with one to four things done to
    it."""
    pieces = [*target.words, *_EDGES, *_TEXTS]
    kept = [*target.seeds(), *seeds]
    given = len(kept)
    while True:
        made = chance.choice(kept)
        if target.is_json and chance.random() < 0.7:
            made = other_document(made, chance)
        else:
            data = bytearray(made)
            for _ in range(chance.choice((1, 1, 2, 4))):
                _change(data, pieces, kept, chance)
            made = bytes(data)
        made = made[: target.most_bytes]
        yield made
        if chance.random() < 0.02:
            # Some are changed further. Those that were given stay.
            if len(kept) < given + 50:
                kept.append(made)
            else:
                kept[chance.randrange(given, len(kept))] = made


def other_document(data: bytes, chance: random.Random) -> bytes:
    """`data` with one to three members of it replaced, renamed, moved or gone; as it is when it is no JSON."""
    try:
        document = [json.loads(data)]
    except (ValueError, RecursionError):
        return data
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = list(_places(document, 0))
        container, key = chance.choice(places)
        way = chance.random()
        if way < 0.6:
            container[key] = copy.deepcopy(chance.choice(_VALUES))
        elif way < 0.75:
            other, at = chance.choice(places)
            # A copy: nothing may hold itself.
            container[key] = copy.deepcopy(other[at])
        elif isinstance(container, dict):
            value = container.pop(key)
            if way < 0.85:
                container[chance.choice(("", "$version", "a.b", key.upper(), key + "s"))] = value
        elif container is not document:
            del container[key]
    return json.dumps(document[0], ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")


def _places(value: Any, depth: int) -> Iterator[tuple[Any, Any]]:
    """Where values stand. Not the deepest: a document that doubles in depth would not end."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in list(entries):
        yield value, key
        if depth < 20:
            yield from _places(member, depth + 1)


def _change(data: bytearray, pieces: Sequence[bytes], others: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + 1 + int(chance.expovariate(0.2)))
    way = chance.randrange(8)
    if way == 0 and data:
        data[at % len(data)] ^= 1 << chance.randrange(8)
    elif way == 1 and data:
        data[at % len(data)] = chance.randrange(256)
    elif way == 2:
        del data[at:end]
    elif way == 3:
        data[at:at] = data[at:end] * chance.choice((1, 1, 2, 30))
    elif way == 4:
        data[at:at] = chance.choice(pieces)
    elif way == 5:
        piece = chance.choice(pieces)
        data[at : at + len(piece)] = piece
    elif way == 6:
        other = chance.choice(others)
        begin = chance.randrange(len(other) + 1)
        data[at:end] = other[begin : begin + chance.randrange(len(other) + 1)]
    else:
        del data[at:]
