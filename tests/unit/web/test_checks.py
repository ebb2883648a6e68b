"""Each check of a connection has words that are true beside a tick."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import moorage
from moorage.identities import explanations
from moorage.pki.policy import PASSED, PASSED_PINNED
from moorage.web.checks import WORDS, asks


def named_in_code() -> Iterator[str]:
    """The names of checks that are made where they are written down."""
    for file in Path(moorage.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Check":
                name = node.args[0] if node.args else None
                if isinstance(name, ast.Constant):
                    yield str(name.value)


def test_every_check_says_what_it_asks() -> None:
    named = set(named_in_code())
    assert len(named) > 10
    orders = (
        explanations.BEFORE_CREDENTIALS,
        explanations.BY_AUTHORITY,
        explanations.BY_OWN_KEY,
        explanations.BY_POLICY,
        explanations.BY_THUMBPRINT,
    )
    named |= {name for order in orders for name in order} | {check.name for check in (*PASSED, *PASSED_PINNED)}
    assert named - set(WORDS) == set()
    assert len(set(WORDS.values())) == len(WORDS)


def test_a_check_of_an_older_record_says_its_name() -> None:
    assert asks("chain.of_yore") == "chain.of_yore"
