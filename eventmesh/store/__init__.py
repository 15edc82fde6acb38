"""A service's own database as a store: effects, messages and marks in one transaction.

`eventmesh.store.hosting` opens the stores of a host; nothing else here is imported before one is
configured, and so no SQL library is either. A `Database` is an engine with its deadlines; `Store`
is what a process does with it: transactions with an outbox, marks of what is done, and a `Relay`
that publishes.
"""
