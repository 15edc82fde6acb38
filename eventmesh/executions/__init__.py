"""Runs durable functions: invocation by invocation, until their executions end.

`handler` receives what concerns an execution as messages in the inbox of its function: what begins
it, the turns in which its code runs, the time that has come, and the outcomes of functions that it
invoked. `turns` is what runs the code of a turn, and `native` does it for code in this process:
there `session` is one turn, which records what the code does, and ends when all of it waits.
`context` is what the code sees. The rules are in `eventmesh.durable`, and the state is in the store
of the service.
"""
