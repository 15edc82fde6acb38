"""What clients may take of a process: connections, time and memory."""
