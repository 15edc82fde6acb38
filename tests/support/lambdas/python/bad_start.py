"""A Lambda function whose module ends its process."""

import os

print("cannot start")
os._exit(9)
