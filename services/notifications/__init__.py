"""The mails of the shop."""
