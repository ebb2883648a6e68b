"""Files of many devices: JSON lines, as an export has them, and CSV with a heading.

Both become the items of a bulk request (contract/services.md 2.6), each with the line it stands in. A line that cannot
be read becomes a refusal, and the others go on.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from moorage.errors import Invalid, Refusal

__all__ = ["COLUMNS", "FleetLine", "read_csv", "read_json_lines"]

_MAX_LINE_BYTES: Final = 1024 * 1024
_KINDS: Final = {
    "sas": "sas",
    "x509-thumbprint": "selfSigned",
    "selfsigned": "selfSigned",
    "x509-ca": "certificateAuthority",
    "certificateauthority": "certificateAuthority",
    "none": "none",
}
# What each column of a CSV file says.
COLUMNS: Final[Mapping[str, str]] = {
    "id": "the device id; every line has one",
    "module": "a module of it",
    "auth": "sas, x509-thumbprint, x509-ca or none; else what the other columns point to",
    "primary-thumbprint": "SHA-1 or SHA-256 of the certificate",
    "secondary-thumbprint": "that of the certificate it rolls to",
    "primary-key": "base64; made by the hub where it is empty",
    "secondary-key": "base64; made by the hub where it is empty",
    "status": "enabled or disabled",
    "status-reason": "why",
    "edge": "yes for an IoT Edge device",
    "parent": "the IoT Edge device it stands below",
    "tags": "a JSON object; a column tags.NAME sets one of them to its text",
    "desired": "desired properties, a JSON object",
}


@dataclass(frozen=True, slots=True)
class FleetLine:
    """One line of a file: the item it stands for, or why it stands for none."""

    number: int
    item: dict[str, Any] | None
    refusal: Refusal | None = None
    # Bytes, about as many as it has in a request.
    size: int = 0
    # As a CSV file names it.
    parent: str = ""

    @property
    def name(self) -> str:
        if self.item is None:
            return ""
        module = self.item.get("moduleId")
        return f"{self.item.get('id', '')}/{module}" if module else str(self.item.get("id", ""))


def read_json_lines(lines: Iterable[bytes]) -> Iterator[FleetLine]:
    """An object a line; empty lines are skipped."""
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix(b"\xef\xbb\xbf")
        if not text:
            continue
        try:
            # A request is ASCII: what takes two to four bytes in UTF-8 takes six or twelve there, three times as many.
            yield FleetLine(number, _object(text), size=len(text) if text.isascii() else 3 * len(text))
        except Refusal as refusal:
            yield FleetLine(number, None, refusal)


def read_csv(lines: Iterable[bytes]) -> Iterator[FleetLine]:
    """Raises `Invalid` (`import.columns`, `import.csv`) for a file that cannot be read at all."""
    reader = csv.reader(_decoded(lines), strict=True)
    columns: list[str] | None = None
    try:
        for row in reader:
            if not any(row):
                continue
            if columns is None:
                columns = _columns(row)
                continue
            try:
                cells = _cells(columns, row)
                size = sum(len(json.dumps(cell)) for cell in row)
                yield FleetLine(reader.line_num, _item(cells), size=size, parent=cells.get("parent", ""))
            except Refusal as refusal:
                yield FleetLine(reader.line_num, None, refusal)
    except csv.Error as error:
        raise Invalid("import.csv", f"line {reader.line_num} is not CSV: {error}") from error
    if columns is None:
        raise Invalid("import.columns", "the file has no heading", fix=f"begin it with a line of: {','.join(COLUMNS)}")


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise Invalid("import.csv", f"line {number} is not UTF-8: byte {error.start} does not fit") from None


def _object(text: bytes) -> dict[str, Any]:
    if len(text) > _MAX_LINE_BYTES:
        raise Invalid("json.malformed", f"the line has {len(text)} bytes, at most {_MAX_LINE_BYTES} are read")
    try:
        value = _parsed(text)
    except (ValueError, RecursionError) as error:
        raise Invalid("json.malformed", f"the line is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Invalid("json.not_object", "the line is no JSON object")
    return value


def _parsed(text: bytes | str) -> Any:
    """JSON that can be written again. Raises `ValueError`, `RecursionError`."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is no number of JSON, or too large for one")
    return value


def _columns(row: list[str]) -> list[str]:
    # The name of a tag is taken as it stands.
    known = [re.sub("^tags[.]", "tags.", name.strip(), flags=re.IGNORECASE) for name in row]
    known = [name if name.startswith("tags.") else name.lower() for name in known]
    for name in known:
        if name not in COLUMNS and not name.startswith("tags."):
            raise Invalid(
                "import.columns",
                f"the heading has the column {name[:80]!r}, which there is not",
                fix=f"columns are {', '.join(COLUMNS)}, and tags.NAME",
            )
    if "id" not in known:
        raise Invalid("import.columns", "the heading has no column id")
    if len(set(known)) < len(known):
        raise Invalid("import.columns", "the heading has a column twice")
    return known


def _cells(columns: list[str], row: list[str]) -> dict[str, str]:
    """What is said, by column."""
    if len(row) > len(columns):
        raise Invalid("import.cell", f"the line has {len(row)} cells, the heading has {len(columns)}")
    cells = {name: cell.strip() for name, cell in zip(columns, row, strict=False) if cell.strip()}
    if "id" not in cells:
        raise Invalid("import.cell", "the column id is empty")
    return cells


def _item(cells: Mapping[str, str]) -> dict[str, Any]:
    item: dict[str, Any] = {"id": cells["id"], "authentication": _authentication(cells)}
    for column, member in (("module", "moduleId"), ("status", "status"), ("status-reason", "statusReason")):
        if column in cells:
            item[member] = cells[column]
    if "edge" in cells:
        item["capabilities"] = {"iotEdge": _yes_or_no(cells["edge"])}
    if "parent" in cells:
        # The hub puts the generation of its own parent in.
        item["parentScopes"] = [f"ms-azure-iot-edge://{cells['parent']}-0"]
    tags = _json(cells, "tags") | {name[5:]: cell for name, cell in cells.items() if name.startswith("tags.")}
    if tags:
        item["tags"] = tags
    if desired := _json(cells, "desired"):
        item["properties"] = {"desired": desired}
    return item


def _authentication(cells: Mapping[str, str]) -> dict[str, Any]:
    thumbprints = _pair(cells, "thumbprint", "Thumbprint")
    keys = _pair(cells, "key", "Key")
    said = cells.get("auth", "x509-thumbprint" if thumbprints else "sas" if keys else "x509-ca")
    kind = _KINDS.get(said.lower())
    if kind is None:
        raise Invalid("import.cell", f"auth is {said[:40]!r}, it has to be sas, x509-thumbprint, x509-ca or none")
    return {"type": kind, "x509Thumbprint": thumbprints, "symmetricKey": keys}


def _pair(cells: Mapping[str, str], column: str, member: str) -> dict[str, str]:
    return {
        f"{slot}{member}": cells[f"{slot}-{column}"] for slot in ("primary", "secondary") if f"{slot}-{column}" in cells
    }


def _json(cells: Mapping[str, str], column: str) -> dict[str, Any]:
    if column not in cells:
        return {}
    try:
        value = _parsed(cells[column])
    except (ValueError, RecursionError) as error:
        raise Invalid("import.cell", f"{column} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Invalid("import.cell", f"{column} is no JSON object")
    return value


def _yes_or_no(text: str) -> bool:
    if text.lower() in ("yes", "true", "1"):
        return True
    if text.lower() in ("no", "false", "0"):
        return False
    raise Invalid("import.cell", f"edge is {text[:40]!r}, it has to be yes or no")
