"""Every case there is, in the order of the chapters."""

from __future__ import annotations

from tests.attacks import (
    cbs,
    chains,
    identity,
    links,
    oracles,
    possession,
    provisioning,
    races,
    requests,
    revocation,
    sessions,
    thumbprints,
    tokens,
    topics,
    waivers,
)
from tests.attacks.table import Case

__all__ = ["CHAPTERS", "TABLE"]

CHAPTERS = (
    identity.CHAPTER,
    chains.CHAPTER,
    chains.ALGORITHMS,
    waivers.CHAPTER,
    revocation.CHAPTER,
    possession.CHAPTER,
    thumbprints.CHAPTER,
    provisioning.CHAPTER,
    tokens.CHAPTER,
    cbs.CHAPTER,
    sessions.CHAPTER,
    topics.CHAPTER,
    links.CHAPTER,
    races.CHAPTER,
    oracles.CHAPTER,
    requests.CHAPTER,
    requests.SMUGGLING,
)
for _chapter in CHAPTERS:
    _chapter.cases.sort(key=lambda case: case.number)
TABLE: tuple[Case, ...] = tuple(case for chapter in CHAPTERS for case in chapter.cases)
