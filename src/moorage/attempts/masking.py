"""Keys and signatures that stand where a name belongs: stars, before an attempt is written down or told.

A connection string pasted as a client id, or a token as a user name, is a mistake that people make, and an attempt
repeats what it was given. What cannot be told from a name, such as a key alone, is taken for one.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from moorage.attempts.model import Attempt
from moorage.errors import Check

__all__ = ["masked", "without_secrets"]

# `SharedAccessKey=` of connection strings and `sig=` of tokens, and both percent-encoded once or twice.
_SECRET: Final = re.compile(r"(SharedAccessKey|(?<![A-Za-z])sig)((?:=|%(?:25)*3D)\s*)[^&;'\"\s]+", re.IGNORECASE)


def masked(text: str) -> str:
    """`text` without the secrets in it."""
    return _SECRET.sub(r"\1\2****", text)


def without_secrets(attempt: Attempt) -> Attempt:
    """`attempt` as it may be kept; itself where there is nothing to hide."""
    texts = [attempt.claimed_id, attempt.client]
    if not attempt.is_accepted:
        texts += [attempt.message, attempt.fix, *(each.detail for each in attempt.checks)]
    if not any(_SECRET.search(text) for text in texts):
        return attempt
    return replace(
        attempt,
        claimed_id=masked(attempt.claimed_id),
        client=masked(attempt.client),
        message=masked(attempt.message),
        fix=masked(attempt.fix),
        checks=tuple(Check(each.name, each.passed, masked(each.detail)) for each in attempt.checks),
    )
