"""Every case there is, in the order of the chapters."""

from __future__ import annotations

from tests.attacks import chains, identity, possession, provisioning, thumbprints, tokens
from tests.attacks.table import Case

__all__ = ["CHAPTERS", "TABLE"]

CHAPTERS = (
    identity.CHAPTER,
    chains.CHAPTER,
    chains.ALGORITHMS,
    possession.CHAPTER,
    thumbprints.CHAPTER,
    provisioning.CHAPTER,
    tokens.CHAPTER,
)
TABLE: tuple[Case, ...] = tuple(case for chapter in CHAPTERS for case in chapter.cases)
