"""A hub on every port that device SDKs know."""

from __future__ import annotations

from tests.e2e.matrix.conftest import workshop

__all__ = ["workshop"]
