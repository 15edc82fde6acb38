"""A ledger as a table, and as a verdict."""

from itertools import pairwise

from cluster_load.kinds import PERIOD, SLOTS
from cluster_load.ledger import Ledger

HEAD = (
    f"{'kind':<13}{'confirmed':>10}{'lost':>6}{'doubled':>8}{'refused':>8}{'hung':>5}"
    f"{'call gap':>10}{'run gap':>9}{'latest':>8}"
)


def table(title, ledger: Ledger):
    """Lines for a person: gaps and delays in seconds."""
    lines = [f"{title}: at most {ledger.most_at_once} at once of {SLOTS} slots", HEAD]
    reasons = {}
    for kind, account in ledger.accounts.items():
        latest = f"{account.latest:.1f}" if account.latest else ""
        calls = f"{account.longest_call_gap:.1f}" if account.calls else ""
        runs = f"{account.runs.longest:.1f}" if account.handled else ""
        confirmed = len(account.confirmed) or len(account.handled)
        lost = len(account.lost) if kind not in {"synchronous", "timer"} else ""
        lines.append(
            f"{kind:<13}{confirmed:>10,}{lost:>6}{account.doubled:>8}"
            f"{account.refused.total():>8}{account.hung:>5}{calls:>10}{runs:>9}{latest:>8}"
        )
        reasons |= {kind: dict(account.refused)} if account.refused else {}
    if reasons:
        lines.append(f"refused: {reasons}")
    lines += map(str, ledger.pulse.standstills)
    return "\n".join(lines)


def broken_promises(ledger: Ledger):
    """What did not hold of all that is promised whatever happens to nodes and links."""
    broken = []
    for kind, account in ledger.accounts.items():
        if kind != "synchronous" and account.lost:
            broken.append(f"{kind}: {len(account.lost)} lost: {sorted(account.lost)[:10]}")
        if account.hung:
            broken.append(f"{kind}: {account.hung} hung")
    # A process that has lost its connection goes on with its runs, and others get its slots:
    # docs/rabbitmq.md says so. Each slot may be held twice then.
    if ledger.most_when_well > SLOTS or ledger.most_at_once > 2 * SLOTS:
        most = max(ledger.most_when_well, ledger.most_at_once)
        broken.append(f"slots: {most} at once of {SLOTS}")
    fired = sorted(float(moment) for moment in ledger.accounts["timer"].handled)
    missed = [before for before, after in pairwise(fired) if after - before > 1.5 * PERIOD]
    if missed:
        broken.append(f"timer: missed after {missed[:10]}")
    several = [moment for moment, ids in ledger.ids.items() if len(ids) > 1]
    if several:
        broken.append(f"timer: moments under several ids: {several[:10]}")
    broken += [str(one) for one in ledger.pulse.standstills if one.is_our_own]
    return broken
