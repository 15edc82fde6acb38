"""Functions fired by time: intervals, cron expressions, single moments."""
