"""Reads and controls the executions of durable functions, from anywhere in a mesh.

`access` is the interface, with what it tells. `messages` is how a service is asked over the
broker, and `mesh` asks all of them.
"""
