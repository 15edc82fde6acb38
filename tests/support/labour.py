"""What handlers of worker processes do, and how they tell of it."""

import hashlib
import os


def say(text):
    """Write a line in one write, which a kill cannot cut."""
    os.write(1, f"{text}\n".encode())


def labour(rounds=2000):
    """About a millisecond of work."""
    hashlib.pbkdf2_hmac("sha256", b"work", b"salt", rounds)
