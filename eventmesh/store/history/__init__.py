"""The history of a console: runs that have ended, in a table of the store."""
