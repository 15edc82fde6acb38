"""A Lambda function whose runs wait for each other: they end only if they run at once."""

import logging
import os
import time
from pathlib import Path


def handler(event, context):
    logging.getLogger("own").warning("met %s", event["name"])
    if event["name"] == "end":
        os._exit(7)
    folder = Path(event["folder"])
    (folder / event["name"]).touch()
    while context.get_remaining_time_in_millis() > 100:
        if len(list(folder.iterdir())) >= event["count"]:
            return os.getpid()
        time.sleep(0.005)
    raise TimeoutError("nobody came")
