"""Images, wheels and compose files of services."""
