"""A form that comes when the sign-in has ended: what was typed goes through the door and back to where it was typed.

    POST /rules ─► the door, with what was typed hidden in it ─► signed in ─► POST /rules?held ─► the form, as it was

Nothing of it is kept here: the browser carries it. Passwords are not among it, and neither are files, which browsers
give once only; the form says which one has to be chosen again. Nothing is done by the form that comes back: whoever
signed in may be somebody else, and sends it once more or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from moorage.web.pages import HELD, MAX_FORM_BYTES, Visit

__all__ = ["MAX_RETYPED_BYTES", "Retyped", "retyped_of", "retyped_in"]

# What multipart adds to as many fields as a form may have.
MAX_RETYPED_BYTES: Final = MAX_FORM_BYTES + 128 * 1024
# Of the fields in the door's own form.
_PREFIX: Final = "typed:"
_PATH: Final = "typed_at"
_FILE: Final = "typed_file"
# They are typed again by whoever knows them.
_SECRETS: Final = frozenset(("password", "present", "again"))


@dataclass(frozen=True, slots=True)
class Retyped:
    """A form that was sent to `path`; `file` is the name of a field in which a file was chosen, '' for none."""

    path: str
    fields: tuple[tuple[str, str], ...]
    file: str = ""

    @property
    def action(self) -> str:
        """Where it goes once somebody is signed in."""
        return f"{quote(self.path)}?{urlencode({HELD: self.file})}"

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """As fields of the door's form."""
        return [(_PATH, self.path), (_FILE, self.file), *((_PREFIX + name, value) for name, value in self.fields)]


async def retyped_of(visit: Visit) -> Retyped | None:
    """What `visit` sends, None where that is nothing. Raises `Invalid` (`form.malformed`), `TooLarge` (`form.size`)."""
    fields = [(name, value) for name, value in await visit.fields() if name not in _SECRETS]
    files = await visit.files()
    if not fields and not files:
        return None
    return Retyped(visit.here, tuple(fields), files[0] if files else "")


def retyped_in(fields: Iterable[tuple[str, str]]) -> Retyped | None:
    """What the door's form carries."""
    listed = list(fields)
    own: Mapping[str, str] = dict(listed)
    if not own.get(_PATH, ""):
        return None
    typed = tuple((name.removeprefix(_PREFIX), value) for name, value in listed if name.startswith(_PREFIX))
    return Retyped(own[_PATH], typed, own.get(_FILE, ""))
