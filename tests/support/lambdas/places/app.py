"""A Lambda function that writes down when it runs, and in how many places at once."""

import os
import time
from pathlib import Path

from places import Places

places = Places(os.environ["PLACES"])
ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def handler(event, context):
    number = event["number"]
    with places.taken() as place:
        os.write(ledger, f"enter {number} {place}\n".encode())
        time.sleep(event.get("seconds", 0.005))
    if event.get("fail") == "always" or (event.get("fail") and _is_first(number)):
        raise ValueError(f"number {number}")
    os.write(ledger, f"leave {number} {place}\n".encode())
    return number


def _is_first(number):
    lines = Path(os.environ["LEDGER"]).read_text().splitlines()
    return sum(line.split()[:2] == ["enter", str(number)] for line in lines) == 1
