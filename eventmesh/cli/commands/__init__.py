"""The commands of the launcher: a module each, with the click command as `command`."""
