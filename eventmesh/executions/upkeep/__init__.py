"""What becomes of executions whose messages do not come: overdue, or dead letters."""
