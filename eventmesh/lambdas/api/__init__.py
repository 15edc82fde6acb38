"""The HTTP APIs that the processes of an instance use: of its runtime, and of its extensions."""
