"""Rollout: a new version of a service takes the place of the old one, if it does well."""
