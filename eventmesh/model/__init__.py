"""Values: errors, messages, invocations, results, names of queues. No I/O."""
