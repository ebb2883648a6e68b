"""docs/conformance.md, from the scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.conformance.score import MAX_SECONDS, MAX_WAIVERS, Score

__all__ = ["document"]

_HEAD = """# How the validator scores

Written by `make conformance`; do not edit. The wall in front of the hub is one validator
(`src/moorage/pki/validator.py`), and these are public suites that others use as well:

- **x509-limbo** (C2SP), every case but those about web servers (`webpki::`) and those that ask the network
  (`online::`). Names that a client expects of a server are not compared, as a device expects none; a case that must
  fail and whose certificate is not for the name asked for says nothing about the chain and is not counted.
- **NIST PKITS**, every section but 4.8 to 4.12. Those are about certificate policies, which are not processed here: a
  CA that constrains them is refused. Revocation lists are asked, and an unknown status is refused.

A case that must fail and is accepted fails the run; so does a case that takes more than {seconds:g} s, more than
{waivers} waivers, a line on these lists that is no longer true, and a suite that lets a validator pass which refuses
everything or accepts everything.

| Suite | Cases | Must fail: refused | Must succeed: accepted | Left out | Waived | Wrong |
|---|---|---|---|---|---|---|
"""


def document(scores: Sequence[Score]) -> str:
    return "\n".join(_lines(scores)) + "\n"


def _lines(scores: Sequence[Score]) -> Iterator[str]:
    yield _HEAD.format(seconds=MAX_SECONDS, waivers=MAX_WAIVERS).rstrip("\n")
    for score in scores:
        counts = (
            score.total,
            score.refused,
            score.accepted,
            len(score.left_out),
            len(score.waived),
            len(score.problems),
        )
        yield f"| {score.suite} | {' | '.join(map(str, counts))} |"
    for score in scores:
        yield from _listed(f"{score.suite}: left out", "must fail, and is accepted", score.left_out)
        yield from _listed(f"{score.suite}: waived", "must succeed, and is refused", score.waived)
        if score.problems:
            yield from ("", f"## {score.suite}: wrong", "", *(f"- {problem}" for problem in score.problems))


def _listed(title: str, what: str, cases: Mapping[str, str]) -> Iterator[str]:
    if not cases:
        return
    yield from ("", f"## {title}", "", f"| Case ({what}) | Why |", "|---|---|")
    for name, why in cases.items():
        yield f"| `{name}` | {why} |"
