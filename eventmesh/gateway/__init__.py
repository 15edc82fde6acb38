"""One HTTP address for the routes of all services of a mesh."""
