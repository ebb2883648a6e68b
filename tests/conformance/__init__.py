"""Public suites of path validation against our validator: how often it agrees, and why not where it does not.

`python -m tests.conformance` runs all of it, prints the score and writes docs/conformance.md. A case that must fail and
is accepted fails the run, unless its name is on the list of cases that are left out, with the reason. A listed
difference that has gone fails the run too: the lists are what is true and not what is hoped for.
"""
