"""Who may send a request."""
