"""Pictures that tiles show: kept while a tile shows them, and for an hour before one does."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Final

from moorage.analytics.boards import IMAGE_KINDS, MAX_IMAGE_BYTES, MAX_IMAGES, BoardTables, Image
from moorage.clock import Clock
from moorage.errors import Invalid, NotFound, TooLarge
from moorage.ids import HubId
from moorage.store import Store

__all__ = ["Pictures"]

# For forms that are still open.
_UNSHOWN: Final = timedelta(hours=1)


class Pictures:
    """The pictures of one hub's dashboards."""

    def __init__(self, hub: HubId, store: Store[BoardTables], clock: Clock) -> None:
        self._hub = hub
        self._store = store
        self._clock = clock

    def get(self, image_id: str) -> Image:
        """Raises `NotFound` (`image.unknown`)."""
        found = self._store.read().dashboard_images.find(self._hub, image_id[:64])
        if found is None:
            raise NotFound("image.unknown", "there is no such picture")
        return found

    async def keep(self, content: bytes) -> str:
        """The id under which it is kept. Raises `Invalid` (`image.kind`), `TooLarge` (`image.size`)."""
        kind = next((media for begin, media in IMAGE_KINDS.items() if content.startswith(begin)), None)
        if kind is None:
            raise Invalid("image.kind", "this is no picture: PNG, JPEG and GIF are shown")
        if len(content) > MAX_IMAGE_BYTES:
            raise TooLarge("image.size", f"a picture has at most {MAX_IMAGE_BYTES} bytes, this has {len(content)}")
        now = self._clock.now()
        picture = Image(self._hub, f"i{secrets.token_hex(8)}", kind, content, now)

        def work(tables: BoardTables) -> None:
            shown = [tile.image for board in tables.dashboards.all(self._hub) for tile in board.content.tiles]
            tables.dashboard_images.keep_only(self._hub, frozenset(shown), now - _UNSHOWN)
            if tables.dashboard_images.count(self._hub) >= MAX_IMAGES:
                raise TooLarge("image.size", f"dashboards have at most {MAX_IMAGES} pictures together")
            tables.dashboard_images.put(picture)

        await self._store.write(work)
        return picture.image_id
