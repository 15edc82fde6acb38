"""`make demo` ends well, and shows what fired what."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

RETRIED = """\
POST /orders  1 tea  →  201 placed, 4.50
└── orders.place_order
    ├── inventory.reserve  is called
    │   └── inventory.expire waits in the broker
    └── ◆ order.placed
        ├── payments.charge  ✗ ProviderError: the provider answered /charges with 50*
        ├── reports.record
        └── payments.charge  attempt 2
            └── ◆ payment.succeeded
                └── orders.confirm
                    └── ◆ order.confirmed
                        ├── inventory.commit
                        ├── notifications.write
                        │   └── notifications.deliver  takes a batch of 1
                        └── reports.record
"""


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
    assert RETRIED in shown
    for title in ("orders.cancel", "inventory.release", "payments.refund", "reports.close_day"):
        assert f" {title}" in shown or f"\n{title}" in shown
    assert "409 out of stock: unicorn" in shown
    assert len(re.findall(r"^mail ", shown, re.MULTILINE)) == 3
    assert "3 orders, 2 confirmed, 1 cancelled, revenue 18.00" in shown
