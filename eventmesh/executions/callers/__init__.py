"""What others do with executions: begin them, complete their callbacks, and get their outcomes."""
