"""What a mesh does now, for an operator: its runs, one invocation, the slowest functions."""
