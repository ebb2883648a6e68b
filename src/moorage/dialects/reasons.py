"""Every reason a refusal of ours can give, with a sentence: what docs/reference/reasons.md is made from."""

from __future__ import annotations

from typing import Final, NamedTuple

from moorage.errors import Refusal

__all__ = ["REASONS", "Reason"]


class Reason(NamedTuple):
    """`kind` is the refusal's class, None for a fault in a protocol, which has no answer but the end."""

    kind: type[Refusal] | None
    sentence: str


REASONS: Final[dict[str, Reason]] = {}
