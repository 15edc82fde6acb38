"""The state of durable executions, and the rules by which it changes.

An *execution* is one run of a durable function, from its first invocation to its end, over as many
invocations as that takes. What it did is recorded as *operations* (a step, a wait, a callback, a
chained invoke, a child context), and what happened as *events*, which are only appended. The
function's code is run again from its beginning in each invocation, and takes from the operations
what is done already.

Everything here is values and functions on them, without input or output: who keeps the state loads
an `Execution`, lets a `Transition` change it, and stores the `Changes` in one transaction. The
shapes and the rules are those of AWS Lambda's durable functions (API version 2025-12-01), so that
their SDKs and ours have one history.
"""
