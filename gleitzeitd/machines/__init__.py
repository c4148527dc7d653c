"""Sans-IO state machines, one file per role, and link.py: a component's half of the session.

A machine receives events, expired timers and finished calls, together with the time; it changes
its own state and returns effects in the order in which they must happen. It never waits, opens,
reads, sends, sleeps, logs or asks for the time. ``runtime`` does all that, and so does the
simulated cluster of the tests, with the same machines.
"""
