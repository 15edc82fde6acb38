"""The timers of a mesh: what may be asked about them, and done with them."""
