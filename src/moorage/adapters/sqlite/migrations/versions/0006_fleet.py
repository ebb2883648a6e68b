"""Devices as the application knows them, and what people make of them: one function a capability."""

from collections.abc import Callable

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for make in _PARTS:
        make()


_PARTS: tuple[Callable[[], None], ...] = ()
