"""What revocation and the other transports keep: one function a capability."""

from collections.abc import Callable

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    for make in _PARTS:
        make()


_PARTS: tuple[Callable[[], None], ...] = ()
