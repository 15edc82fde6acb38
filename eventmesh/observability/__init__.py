"""The log, the traces and the admin listener of a process.

Only the launcher sets them up; importing them changes nothing.
"""
