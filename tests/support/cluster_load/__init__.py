"""A load of all kinds of invocations on a cluster, and an account of what became of each."""
