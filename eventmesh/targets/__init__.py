"""From what is typed to name services to the services."""
