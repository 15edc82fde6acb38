"""HTTP: the server, the routes of functions, and the APIs that every process offers."""
