"""What a refusal says over AMQP beside its condition (`dialects/refusals.py`): a sentence, and where to read more."""

from __future__ import annotations

from moorage.dialects.refusals import wire_error
from moorage.errors import Forbidden, Refusal, Unauthenticated

__all__ = ["amqp_description", "amqp_info"]


def amqp_description(refusal: Refusal) -> str:
    """A stranger reads the code alone (decisions T7); whoever was let in reads what was wrong."""
    error = wire_error(refusal)
    if isinstance(refusal, Unauthenticated | Forbidden):
        return f"ErrorCode:{error.name}; {error.code}: the credential does not open this"
    # By this word @azure/core-amqp knows that it need not try again.
    more = " (status-code: 404)" if error.status == 404 else ""
    return f"ErrorCode:{error.name}; {error.code}: {refusal.message}{more}"


def amqp_info(tracking_id: str) -> dict[str, object]:
    """The error's info map: the number under which an operator finds the attempt."""
    return {"com.microsoft:tracking-id": tracking_id}
