"""Readers of the bus: from the daemon's socket or from the log, the same events either way.

`session` is the state machine over both transports, `connection` the one and `tail` the other, `steps` what it says; `feed` adds
the predicate and the bookmark, `subscription` the faces for loops and for threads, `drive` and `shared_bell` the waiting. `plan`
decides composed waits, `waits` runs them, `messages` has request and respond, `history` what is in the log already.
"""
