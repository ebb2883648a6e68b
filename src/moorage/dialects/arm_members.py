"""What a tool sends for a resource beside what it was shown: which members ask for something else (services.md 5.4).

Tools read a resource whole, change a member or two and send it back whole. A member that is as it was asks for nothing.
One that is not is either ours to change, or asks for something that there is not: that is refused by name. Members of
which this API has never heard ask for something that nobody here can know; they are named in a warning.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any, Final

from moorage.errors import Invalid
from moorage.ids import ETag, parse_etag

__all__ = ["check_fixed", "differs", "if_match_of", "unknown_members"]

_MAX_SHOWN = 60
_MAX_PATH_SHOWN = 200
_MAX_NAMED = 10
# What the Azure command line sends as If-Match: a mapping where a text is expected, in Python's own spelling.
_MAPPING: Final = re.compile(r"\{'IF-MATCH': (?:None|'([^']*)')\}", re.IGNORECASE)
_DURATION: Final = re.compile(r"P(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})(?:\.0{1,9})?S)?)?")
_SECRET: Final = re.compile(r"(?:key|connectionstring)$", re.IGNORECASE)
_DURATION_WEIGHTS: Final = (86_400, 3_600, 60, 1)


def if_match_of(header: str | None, body: Mapping[str, Any]) -> ETag | None:
    """The etag that a change is for: the header's, else the one in the body, else none.

    The body holds the one that was read, so that a tool which sends no header overwrites nobody either. Raises
    `Invalid` (`body.member`).
    """
    if header is not None:
        spelled = _MAPPING.fullmatch(header.strip())
        said = header if spelled is None else spelled[1]
        # A tool that was given no etag says so in a header, and sends the one that it read all the same.
        if said:
            return parse_etag(said)
    etag = body.get("etag")
    if etag is not None and not isinstance(etag, str):
        raise Invalid("body.member", f"etag is a {type(etag).__name__}, it has to be a string")
    return parse_etag(etag)


def check_fixed(
    given: Mapping[str, Any], shown: Mapping[str, Any], path: str, *, free: Collection[str], why: Mapping[str, str]
) -> None:
    """Members that `free` does not name, and that are shown or known not to be there, have to be as they were.

    `why` says of members, shown or not, why they are as they are.

    Raises:
        Invalid: `resource.fixed`, with the member's path.
    """
    for name, value in given.items():
        if name in free or not (name in shown or name in why):
            continue
        differing = _differing(value, shown.get(name), f"{path}{name}")
        if differing is not None:
            member, wanted, present = differing
            raise Invalid(
                "resource.fixed",
                f"{member[:_MAX_PATH_SHOWN]} was to be {_text(member, wanted)} and is {_text(member, present)}, "
                "which is fixed here" + (f": {why[name]}" if name in why else ""),
            )


def unknown_members(given: Mapping[str, Any], known: Collection[str], path: str) -> list[str]:
    """Paths of members that are none of `known` and hold something: the first few of them."""
    found = (
        f"{path}{name}"[:_MAX_SHOWN] for name, value in given.items() if name not in known and not _is_empty(value)
    )
    return list(islice(found, _MAX_NAMED))


def differs(given: Any, shown: Any) -> bool:
    """Whether `given` asks for something else than what is `shown`."""
    return _differing(given, shown, "") is not None


def _differing(given: Any, shown: Any, path: str) -> tuple[str, Any, Any] | None:
    """(path, given, shown) of the first place where they say different things."""
    if _is_empty(given) and (_is_empty(shown) or given is None):
        return None
    if isinstance(given, Mapping) and isinstance(shown, Mapping):
        for name, value in given.items():
            found = _differing(value, shown.get(name), f"{path}.{name}")
            if found is not None:
                return found
        return None
    if isinstance(given, list) and isinstance(shown, list) and len(given) == len(shown):
        for place, (one, other) in enumerate(zip(given, shown, strict=True)):
            found = _differing(one, other, f"{path}[{place}]")
            if found is not None:
                return found
        return None
    return None if _is_same(given, shown) else (path, given, shown)


def _is_same(given: Any, shown: Any) -> bool:
    if isinstance(given, str) and isinstance(shown, str):
        if given.lower() == shown.lower():
            return True
        seconds = _seconds(given)
        return seconds is not None and seconds == _seconds(shown)
    return type(given) is type(shown) and bool(given == shown)


def _seconds(text: str) -> int | None:
    """A duration of ISO 8601 in seconds: tools spell the same one in many ways."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    return sum(weight * int(part or 0) for weight, part in zip(_DURATION_WEIGHTS, match.groups(), strict=True))


def _is_empty(value: Any) -> bool:
    """Nothing is asked for with it: null, no text, no members, or only such."""
    if isinstance(value, Mapping):
        return all(map(_is_empty, value.values()))
    if isinstance(value, list):
        return all(map(_is_empty, value))
    return value is None or value == "" or value is False


def _text(member: str, value: Any) -> str:
    if value is None:
        return "absent"
    if _SECRET.search(member):
        return "a secret"
    if isinstance(value, str | int | float):
        return repr(value)[:_MAX_SHOWN]
    return "an object" if isinstance(value, Mapping) else "a list"
