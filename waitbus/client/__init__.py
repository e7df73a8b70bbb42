"""Readers of the bus: from the daemon's socket or from the log, the same events either way.

`session` is the state machine under both, `feed` adds the predicate and the bookmark, `subscription` the faces for loops and
for threads, `plan` decides composed waits, `waits` runs them, `messages` has request and respond.
"""
