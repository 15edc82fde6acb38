"""What a service sends, kept in its database and published after the commit."""
