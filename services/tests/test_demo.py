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

REMINDED = """\
POST /orders  1 tea  →  201 placed, 4.50
└── orders.place_order
    └── ◆ order.placed
        └── orders.ship
            └── orders.ship
                └── ◆ order.reminder
                    └── notifications.remind
"""


def walk(trees):
    """The lines of trees with their depths, and what caused each."""
    causes = []
    for line in trees.splitlines():
        label = line.lstrip("│├└─ ")
        depth = (len(line) - len(label)) // 4
        yield line, depth, causes[depth - 1] if 0 < depth <= len(causes) else "", label
        causes[depth:] = [label]


def outline(trees):
    """What trees say, whenever runs of orders.ship began among their neighbours, and without what
    these caused."""
    lines, inside = [], None
    for line, depth, _, label in walk(trees):
        if inside is not None and depth > inside:
            continue
        inside = depth if label == "orders.ship" else None
        if inside is None:
            lines.append(re.sub("[│├└─]", " ", line))
    return "\n".join(lines)


def test_demo():
    done = subprocess.run(
        [sys.executable, "-m", "services.demo"],
        cwd=ROOT,
        env={"COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = re.sub(r"  \d+ ms", "", done.stdout)
    shown = re.sub(r"with 50\d", "with 50*", shown)
    assert outline(RETRIED) in outline(shown)
    assert REMINDED in shown
    pairs = Counter((cause, label) for _, _, cause, label in walk(shown))
    # Of each of the four orders, when it is placed and when it is paid or is not.
    today, after_a_day = 4, 2
    assert pairs["◆ order.placed", "orders.ship"] == today + after_a_day
    assert pairs["◆ order.confirmed", "orders.ship"] == 3
    assert pairs["◆ order.cancelled", "orders.ship"] == 1
    assert pairs["orders.ship", "orders.get_order  is called"] == today
    assert pairs["orders.ship", "orders.give_back  was sent"] == 1
    assert pairs["◆ order.reminder", "notifications.remind"] == after_a_day
    for title in ("orders.cancel", "inventory.release", "payments.refund", "reports.close_day"):
        assert f" {title}" in shown or f"\n{title}" in shown
    assert "409 out of stock: unicorn" in shown
    mails = Counter(re.findall(r"^mail  .* (\w+)$", shown, re.MULTILINE))
    assert mails == {"confirmed": 3, "cancelled": 1, "undeliverable": 1, "soon": 2}
    assert "4 orders, 2 confirmed, 2 cancelled, revenue 18.00" in shown
