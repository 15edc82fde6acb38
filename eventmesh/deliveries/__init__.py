"""From a queue to the dispatcher and back: consume, run, settle."""
