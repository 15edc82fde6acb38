"""The console: what a mesh does, and what failed, for people who look."""
