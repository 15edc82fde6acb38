"""`make demo` ends well, and shows what fired what."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]

RETRIED = """\
POST /orders  1 tea  →  201 placed, 4.50
└── orders.place_order
    ├── inventory.reserve  is called
    │   └── inventory.expire waits in the broker
    └── ◆ order.placed
        ├── orders.ship
        ├── payments.charge  ✗ ProviderError: the provider answered /charges with 50*
        ├── reports.record
        └── payments.charge  attempt 2
            └── ◆ payment.succeeded
                └── orders.confirm
                    └── ◆ order.confirmed
                        ├── orders.ship
                        ├── inventory.commit
                        ├── notifications.write
                        │   └── notifications.deliver  takes a batch of 1
                        └── reports.record
"""


def outline(tree):
    """What a tree says, whenever the turns of orders.ship began among their neighbours."""
    lines = [re.sub("[│├└─]", " ", line) for line in tree.splitlines()]
    return "\n".join(line for line in lines if not line.endswith(" orders.ship"))


def test_demo():
    done = subprocess.run(
        [sys.executable, "-m", "services.demo"],
        cwd=ROOT,
        env={"COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = re.sub(r"  \d+ ms", "", done.stdout)
    shown = re.sub(r"with 50\d", "with 50*", shown)
    assert outline(RETRIED) in outline(shown)
    # Of each of the four orders, when it is placed and when it is paid or is not.
    assert len(re.findall(r"─ orders\.ship$", shown, re.MULTILINE)) == 8
    for title in ("orders.cancel", "inventory.release", "payments.refund", "reports.close_day"):
        assert f" {title}" in shown or f"\n{title}" in shown
    assert "409 out of stock: unicorn" in shown
    assert shown.count("\nnotifications.remind\n") == 2
    mails = Counter(re.findall(r"^mail  .* (\w+)$", shown, re.MULTILINE))
    assert mails == {"confirmed": 3, "cancelled": 1, "undeliverable": 1, "soon": 2}
    assert "4 orders, 2 confirmed, 2 cancelled, revenue 18.00" in shown
