"""The only package that knows every adapter: a module a service, each a screenful.

How to think about it: each module wires one service, starts its parts in order and stops them in
the reverse order. Each seam of the design is one choice here, made by a setting. They are apart so
that a service is made of its own parts alone: Ingest loads no database and no state machine.
"""
