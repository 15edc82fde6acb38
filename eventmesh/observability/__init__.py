"""What a process shows of itself: its log, its traces, and the listener that operators ask.

All of it is set up by the launcher alone; importing it changes nothing.
"""
