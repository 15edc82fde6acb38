"""Processes with all services of the shop, forked from one that has loaded them.

It reads lines: `start` forks one, and `kill PID` ends it with SIGKILL. It writes `up PID` for each
whose services run. All of them end with it.
"""

import asyncio
import ctypes
import os
import signal
import sys

from sqlalchemy.dialects.postgresql import asyncpg as driver  # noqa: F401 - loaded before the fork

from eventmesh.brokers.registry import open_broker
from eventmesh.executions import runtime  # noqa: F401 - loaded before the fork
from eventmesh.http.server import server  # noqa: F401 - loaded before the fork
from eventmesh.model.settings import Settings
from eventmesh.processes.worker import serve_services
from eventmesh.store import migrate, service_store  # noqa: F401 - loaded before the fork
from eventmesh.store.outbox import relay  # noqa: F401 - loaded before the fork
from services.inventory.app import inventory
from services.notifications.app import notifications
from services.orders.app import orders
from services.payments.app import payments
from services.reports.app import reports

SERVICES = (orders, inventory, payments, notifications, reports)
_PR_SET_PDEATHSIG = 1


def main():
    store_url, broker_url = sys.argv[1:]
    for line in sys.stdin:
        command, *process = line.split()
        if command == "kill":
            os.kill(int(process[0]), signal.SIGKILL)
            os.waitpid(int(process[0]), 0)
        elif os.fork() == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            asyncio.run(_serve(store_url, broker_url))


async def _serve(store_url, broker_url):
    settings = Settings(store=store_url, http_port=0)
    async with (
        open_broker(broker_url, "shop") as broker,
        serve_services(SERVICES, broker, settings),
    ):
        print("up", os.getpid(), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
