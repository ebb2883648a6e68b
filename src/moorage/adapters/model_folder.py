"""Models in folders, by the path convention of public model repositories (port: `fleet.template_model.ModelSource`).

`dtmi:com:example:Thermostat;1` lies in `dtmi/com/example/thermostat-1.json` below a folder, in lower case, or in
`thermostat-1.expanded.json`, which has everything that it needs. The folders are looked at in their order; the last is
the one that comes with the program.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import moorage.fleet
from moorage.dtdl.members import parse_dtmi
from moorage.errors import Invalid

__all__ = ["BUILT_IN", "ModelFolders"]

log = logging.getLogger("moorage.fleet")

BUILT_IN: Final = Path(moorage.fleet.__file__).parent / "models"

_MAX_FILE_BYTES: Final = 512 * 1024
_MAX_FILES: Final = 2000


class ModelFolders:
    """Reads files each time it is asked: they are small, and a model that is put there counts at once."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = (*folders, BUILT_IN)

    def find(self, model_id: str) -> Any:
        """The document; None when there is none, or none that can be read: then the log says why."""
        try:
            # After this there is nothing in it but letters, digits, _ : and ;, so that it stays below the folder.
            path = parse_dtmi(model_id).lower().replace(":", "/").replace(";", "-")
        except Invalid:
            return None
        for folder in self._folders:
            for suffix in (".json", ".expanded.json"):
                document = _read(folder / f"{path}{suffix}")
                if document is not None:
                    return document
        return None

    def all(self) -> list[str]:
        """The ids of those that can be found, in order."""
        found: set[str] = set()
        for folder in self._folders:
            for file in islice(sorted((folder / "dtmi").rglob("*.json")), _MAX_FILES):
                document = _read(file)
                for each in document if isinstance(document, list) else [document]:
                    if isinstance(each, dict) and isinstance(each.get("@id"), str):
                        found.add(each["@id"])
        return sorted(name for name in found if self.find(name) is not None)


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        log.warning("model_unreadable file=%s reason=%s", path, error.strerror)
        return None
    if len(data) > _MAX_FILE_BYTES:
        log.warning("model_unreadable file=%s reason=larger than %s bytes", path, _MAX_FILE_BYTES)
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        log.warning("model_unreadable file=%s reason=%s", path, error)
        return None
