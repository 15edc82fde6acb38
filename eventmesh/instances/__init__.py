"""Instances: processes of their own in which the handlers of isolated functions run."""
