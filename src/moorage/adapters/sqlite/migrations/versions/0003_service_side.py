"""What the service side keeps: one function a capability."""

from collections.abc import Callable

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for make in _PARTS:
        make()


_PARTS: tuple[Callable[[], None], ...] = ()
