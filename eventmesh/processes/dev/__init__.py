"""A service under development: one process, which carries over what it remembers."""
