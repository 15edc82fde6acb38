"""The reports of the shop."""
