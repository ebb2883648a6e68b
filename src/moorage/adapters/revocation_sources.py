"""Lists and OCSP answers, by the one way out: from addresses that an operator named, and no others."""

from __future__ import annotations

from typing import Final

from moorage.adapters.egress import Answer, Egress, Limits
from moorage.certificates.list_fetching import Fetched
from moorage.errors import Unavailable
from moorage.pki.ocsp import MAX_RESPONSE_BYTES
from moorage.pki.revocation_lists import MAX_LIST_BYTES

__all__ = ["FETCH_S", "OCSP_S", "RevocationSources"]

FETCH_S: Final = 120.0
OCSP_S: Final = 10.0
_LIST: Final = Limits(FETCH_S, 0, MAX_LIST_BYTES)
_OCSP: Final = Limits(OCSP_S, MAX_RESPONSE_BYTES, MAX_RESPONSE_BYTES)
# A server may call a list what it likes, and is told it back.
_MAX_ETAG: Final = 256


class RevocationSources:
    """Fetches lists (`certificates.list_fetching.GetList`) and asks responders (`ocsp_asking.PostQuestion`)."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress

    async def get_list(self, url: str, etag: str | None) -> Fetched:
        """Raises as `Egress.stream`, and `Unavailable` (`crl.not_served`) for a status that is no success."""
        headers = [("accept", "application/pkix-crl, */*")]
        if etag is not None:
            headers.append(("if-none-match", etag))
        answer = await self._egress.request("GET", url, headers=headers, limits=_LIST)
        if answer.status == 304 and etag is not None:
            return Fetched(None, etag)
        _check(answer, "crl.not_served", "a list")
        named = answer.header("etag")
        return Fetched(answer.body, named if named is not None and len(named) <= _MAX_ETAG else None)

    async def post_question(self, url: str, request: bytes) -> bytes:
        """Raises as `Egress.stream`, and `Unavailable` (`ocsp.not_served`) for a status that is no success."""
        headers = [("content-type", "application/ocsp-request"), ("accept", "application/ocsp-response")]
        answer = await self._egress.request("POST", url, headers=headers, body=request, limits=_OCSP)
        _check(answer, "ocsp.not_served", "an OCSP answer")
        return answer.body


def _check(answer: Answer, reason: str, what: str) -> None:
    if answer.status != 200:
        raise Unavailable(reason, f"asked for {what}, the server answered {answer.status}")
