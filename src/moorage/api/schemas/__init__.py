"""What requests and answers look like, as values: JSON Schema made with a handful of words, one module a subject.

A schema is documentation that is held to its word: answers are checked against it in tests, and generated requests come
from it. So it says what is always there (`required`) and leaves open what may be added.
"""
