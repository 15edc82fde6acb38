"""The inventory of the shop."""
