"""Who is nobody is turned away as slowly as who mistypes."""

from __future__ import annotations

import time

from moorage.accounts.passwords import hash_password, is_password
from moorage.ids import Secret


def test_where_there_is_no_user_an_answer_takes_as_long() -> None:
    kept = hash_password(Secret("correct horse"))
    # Processor time, of all threads: what else the machine does is not in it.
    took: dict[str, float] = {kept: 0.0, "": 0.0}
    for encoded in (kept, "", kept, ""):
        began = time.process_time()
        assert not is_password("battery staple", encoded)
        took[encoded] += time.process_time() - began
    assert 0.5 < took[""] / took[kept] < 2
    assert is_password("correct horse", kept) and not is_password("", "")
