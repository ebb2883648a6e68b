"""Declared state: what a hub should hold, written in files, compared with what it holds, and made so.

    files.py ──► Declared ──┐
                            ├──► plan.py: Change ──► the kind's create and update
    the hub ──► the kind's find ──┘

Each kind of thing (`cas.py`, `policies.py`, `devices.py`, `enrollments.py`) reads and writes the hub through its
REST and speaks of it in the words of the files; nothing else knows both.
"""
