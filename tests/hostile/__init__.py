"""Inputs that an attacker would send, and what each does to the server.

`corpus` has the inputs. `tests/integration/http/test_hostile_corpus.py` asserts their
answers; ``python -m tests.hostile`` measures how long each holds the reactor.
"""
