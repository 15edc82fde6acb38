"""The door to strangers: for whom we answer, and what of their headers is believed."""
