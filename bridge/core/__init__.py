"""The pure middle: what messages, reports, mappings, states and delays *are*.

Nothing in this package may read a clock, draw a random number, open a socket or a database, or be `async`.
Now, ids and jitter are arguments.
"""
