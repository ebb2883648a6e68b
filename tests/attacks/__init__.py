"""The attack table: what an attacker holds and does, what it is answered, and which reason is written down.

`table.py` says what a case is, `scene.py` plays one against a hub over real sockets, the chapters beside them hold the
cases, and `page.py` makes docs/reference/attacks.md of them.
"""
