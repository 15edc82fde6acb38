"""Commands of `eventmesh export`, one a file."""
