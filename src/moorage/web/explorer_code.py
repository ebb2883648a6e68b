"""What the buttons of the data explorer do, as code: calls of our own API.

Somebody's own query is nobody else's, a token's neither, so there is no code for what changes it.
"""

from __future__ import annotations

from moorage.analytics.boards import Board, SavedQuery
from moorage.analytics.explorer import Question
from moorage.dialects.queries_json import question_json
from moorage.hub_info import HubInfo
from moorage.web.code import Act, Call, act_as_code, central_path

__all__ = ["explorer_acts"]


def explorer_acts(info: HubInfo, question: Question, saved: Board[SavedQuery] | None, new_id: str) -> list[Act]:
    """Of a page that shows the answer to `question`, opened from `saved` if that was saved."""
    shared = saved if saved is not None and not saved.is_personal else None
    there = central_path("queries", new_id if shared is None else shared.board_id)
    asked = question_json(question)
    body = {
        "displayName": "New query" if saved is None else saved.display_name,
        "personal": shared is None,
        **asked,
    }
    acts = [
        act_as_code(info, "Export CSV", Call("POST", "/queries/answer", asked, api="own")),
        act_as_code(info, "Save", Call("PUT", there, body, api="own")),
    ]
    if shared is not None:
        acts.append(act_as_code(info, "Delete this saved query", Call("DELETE", there, api="own")))
    return acts
