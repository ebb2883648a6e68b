"""Settings of the application in the Central API (contract/central.md 19)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import members, named, one_of, text

__all__ = ["FILE_UPLOAD"]

FILE_UPLOAD: Final = named(
    "CentralFileUpload",
    members(
        {"connectionString": text("The store's URL, without a credential."), "container": text()},
        {
            "account": text(),
            "sasTtl": text("How long an upload may take, as ISO 8601 has it."),
            "state": one_of("pending", "updating", "deleting", "succeeded", "failed"),
            "etag": text(),
        },
    ),
)
