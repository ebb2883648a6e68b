"""Tags as terms of an index: every member of every twin's tags is found by its path and its value.

A term is a text that begins with its type and orders as the values of that type do, so that one index answers equality,
ranges and beginnings of strings. Triggers keep the table up to date, with `tag_terms_of` as a function of SQL, whoever
writes a twin; a write that leaves the tags as they are (what devices report) costs one comparison.

    a array   b boolean   n number   o object   s string

Strings are cut at `MAX_TEXT` characters, which keeps their order: two that are cut are told apart by the evaluator.
Paths longer than `MAX_PATH` have no terms, and are not asked for.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["MAX_PATH", "MAX_TEXT", "path_of", "register", "tag_terms_of", "term_of", "text_term"]

MAX_TEXT: Final = 200
MAX_PATH: Final = 400
_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1


def register(connection: sqlite3.Connection) -> None:
    """Make `tag_terms_of` known to a connection that writes twins."""
    connection.create_function("tag_terms_of", 1, tag_terms_of, deterministic=True)


def tag_terms_of(tags: str) -> str:
    """A JSON array of [path, term], in ASCII; `tags` is JSON too."""
    return json.dumps(list(_terms("", json.loads(tags))))


def path_of(names: tuple[str, ...]) -> str | None:
    """The path in the index; None for one that is not in there. Names in tags have no dots (services.md T-8)."""
    path = ".".join(names)
    return None if len(path) > MAX_PATH or any("." in name for name in names) else path


def term_of(value: Any) -> str | None:
    """None for null, which no tag is."""
    if isinstance(value, str):
        return text_term(value)
    if isinstance(value, bool):
        return "b1" if value else "b0"
    if isinstance(value, (int, float)):
        return _number_term(value)
    if isinstance(value, Mapping):
        return "o"
    return None if value is None else "a"


def text_term(text: str) -> str:
    """Of a string. Neither it nor any other term holds NUL, which SQLite's JSON functions take for the end."""
    cut = text[:MAX_TEXT]
    if "\x00" in cut or "\x01" in cut:
        cut = cut.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")
    return f"s{cut}"


def _number_term(value: float) -> str:
    # The bits of a double order as its value does, once those of negative ones are turned round. Adding 0.0 makes one
    # zero of the two.
    (bits,) = struct.unpack(">Q", struct.pack(">d", float(value) + 0.0))
    return f"n{(bits ^ _ALL) if bits & _SIGN else (bits | _SIGN):016x}"


def _terms(prefix: str, members: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in members.items():
        path = f"{prefix}{name}"
        term = term_of(value)
        if term is not None and len(path) <= MAX_PATH:
            yield path, term
            if isinstance(value, Mapping):
                yield from _terms(f"{path}.", value)
