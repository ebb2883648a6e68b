"""Inputs that are kept: `corpus/<target>/<what is wrong with it>`, replayed by `test_corpus.py`.

Whatever once came out of a parser as it should not have stays here, and so do awkward ones that somebody thought of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.fuzz.targets.model import Target

__all__ = ["KEPT", "kept_inputs"]

KEPT: Final = Path(__file__).with_name("corpus")


def kept_inputs(target: Target) -> list[Path]:
    """In the order of their names; none when nothing was kept."""
    return sorted(path for path in (KEPT / target.name).glob("*") if path.is_file())
