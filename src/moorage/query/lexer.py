"""Query text to tokens (contract/services.md 2.9).

Words are letters, digits, `_` and `$`, and begin with no digit; `[[any name]]` is a name whatever is in it. Which words
are keywords is for the parser to say: behind a dot every word is a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from moorage.query.problems import InvalidQuery

__all__ = ["MAX_CHARS", "MAX_TOKENS", "Token", "TokenKind", "tokenize"]

# A page of `deviceId IN [...]` over a thousand ids of the usual length goes through.
MAX_CHARS: Final = 64 * 1024
MAX_TOKENS: Final = 5_000
_MAX_NUMBER_CHARS = 40

TokenKind = Literal["word", "name", "string", "number", "sign", "end"]

_TOKEN: Final = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<name>\[\[(?!\[|\]\]))
    | (?P<word>[^\W\d][\w$]*|\$[\w$]*)
    | (?P<number>0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    | (?P<quote>['"])
    | (?P<sign><=|>=|<>|!=|\|\||[=<>+\-*/%(),.\[\];{}])
    """,
    re.VERBOSE,
)
_STRING: Final = {
    quote: re.compile(rf"(?P<plain>[^\\{quote}]+)|\\u(?P<code>[0-9a-fA-F]{{4}})|\\(?P<escaped>['\"\\/bfnrt])|{quote}")
    for quote in "'\""
}
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is as written, `value` what it stands for: the name, the string, the number, the sign."""

    kind: TokenKind
    text: str
    value: Any
    at: int


def tokenize(text: str) -> list[Token]:
    """The tokens of `text`, the last of kind "end".

    Raises `InvalidQuery`: `query.size` for too long a text, `query.token` for what is no token.
    """
    if len(text) > MAX_CHARS:
        raise InvalidQuery(
            "query.size", text, MAX_CHARS, f"the query has {len(text)} characters, at most {MAX_CHARS} are read"
        )
    tokens: list[Token] = []
    for token in _tokens(text):
        if len(tokens) == MAX_TOKENS:
            raise InvalidQuery(
                "query.size", text, token.at, f"the query has more than {MAX_TOKENS} words, values and signs"
            )
        tokens.append(token)
    return tokens


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise InvalidQuery("query.token", text, at, _unreadable(text, at))
        end = match.end()
        match match.lastgroup:
            case "space":
                pass
            case "word":
                yield Token("word", match[0], match[0], at)
            case "name":
                closing = text.find("]]", end)
                if closing < 0:
                    # An array in an array.
                    end = at + 1
                    yield Token("sign", "[", "[", at)
                else:
                    yield Token("name", text[at : closing + 2], text[end:closing], at)
                    end = closing + 2
            case "number":
                yield Token("number", match[0], _number(text, match[0], at), at)
                _check_apart(text, at, end)
            case "quote":
                value, end = _string(text, at)
                yield Token("string", text[at:end], value, at)
            case _:
                # Both spellings of "not equal" are one sign.
                yield Token("sign", match[0], "!=" if match[0] == "<>" else match[0], at)
        at = end
    yield Token("end", "", None, len(text))


def _unreadable(text: str, at: int) -> str:
    character = text[at]
    if character == "!":
        return "'!' alone is no operator; it is NOT, or != for 'not equal'"
    return f"{character!r} begins no word, value or sign of a query"


def _number(text: str, written: str, at: int) -> int | float:
    if len(written) > _MAX_NUMBER_CHARS:
        raise InvalidQuery(
            "query.token", text, at, f"this number has {len(written)} characters, at most {_MAX_NUMBER_CHARS} are read"
        )
    if written[:2] in ("0x", "0X"):
        return _plain_number(int(written, 16))
    if written.isdigit():
        return _plain_number(int(written))
    number = float(written)
    if number == float("inf"):
        raise InvalidQuery("query.token", text, at, f"{written} is larger than any number", length=len(written))
    return number


def _plain_number(number: int) -> int | float:
    # What JSON holds are doubles; larger whole numbers are not told apart by whoever wrote the rows.
    return number if number <= 2**53 else float(number)


def _check_apart(text: str, at: int, end: int) -> None:
    if end < len(text) and (text[end].isalnum() or text[end] in "_$"):
        found = re.compile(r"[\w$]*").match(text, end)
        written = text[at : found.end() if found else end]
        raise InvalidQuery(
            "query.token",
            text,
            at,
            f"{written[:40]!r} is neither a number nor a name; a name that begins with a digit is written "
            f"[[{written[:40]}]]",
            length=len(written),
        )


def _string(text: str, begin: int) -> tuple[str, int]:
    """The string that begins at `begin`, and where it ends."""
    quote = text[begin]
    pattern = _STRING[quote]
    parts: list[str] = []
    at = begin + 1
    while at < len(text):
        match = pattern.match(text, at)
        if match is None:
            shown = text[at : at + (6 if text[at : at + 2] == "\\u" else 2)]
            raise InvalidQuery(
                "query.token",
                text,
                at,
                f"{shown!r} is no escape of a string; there are \\' \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\uXXXX",
                length=len(shown),
            )
        at = match.end()
        if match["plain"] is not None:
            parts.append(match["plain"])
        elif match["code"] is not None:
            parts.append(chr(int(match["code"], 16)))
        elif match["escaped"] is not None:
            parts.append(_ESCAPES.get(match["escaped"], match["escaped"]))
        else:
            return _joined(text, begin, parts), at
    raise InvalidQuery("query.token", text, begin, f"the string that begins here has no closing {quote}")


def _joined(text: str, begin: int, parts: list[str]) -> str:
    """Two escapes that are the halves of one character become it."""
    value = "".join(parts)
    if value.isascii():
        return value
    try:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise InvalidQuery(
            "query.token", text, begin, "this string holds half of a surrogate pair (\\ud800 to \\udfff)"
        ) from None
