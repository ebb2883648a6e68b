"""Every parser that reads what a stranger wrote, from a network or a file, and what has to hold of it."""

from __future__ import annotations

from typing import Final

from tests.fuzz.targets import (
    amqp,
    application,
    bodies,
    central,
    certificates,
    files,
    forms,
    models,
    stored,
    streams,
    texts,
)
from tests.fuzz.targets.model import Target

__all__ = ["ALL", "find"]

ALL: Final[tuple[Target, ...]] = (
    *streams.TARGETS,
    *amqp.TARGETS,
    *texts.TARGETS,
    *bodies.TARGETS,
    *central.TARGETS,
    *application.TARGETS,
    *certificates.TARGETS,
    *files.TARGETS,
    *stored.TARGETS,
    *forms.TARGETS,
    *models.TARGETS,
)


def find(name: str) -> Target:
    """Raises `KeyError`."""
    return {target.name: target for target in ALL}[name]
