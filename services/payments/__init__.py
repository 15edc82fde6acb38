"""The payments of the shop."""
