"""The service of the fault tests whose functions are Lambda functions, and who hears of them."""

import sys

from labour import say

from eventmesh import Retry, Service

OURS = f"python3.{sys.version_info.minor}"
SLOTS = 3


def build_service(folder, support):
    """Return the service; its functions write into files of the folder."""
    service = Service("functions")

    @service.function(concurrency=50)
    async def hear(record: dict) -> None:
        error = record.get("error") or {}
        number, reason = record["request"]["number"], record.get("reason", "")
        say(f"{record['outcome']} {number} {record['attempts']} {error.get('type')} {reason}")

    common = {
        "code": "lambdas/places",
        "handler": "app.handler",
        "runtime": OURS,
        "environment": {
            "PYTHONPATH": support,
            "PLACES": f"{folder}/places",
            "LEDGER": f"{folder}/ledger",
        },
        "instances": 2,
        "on_success": hear,
        "on_failure": hear,
    }
    service.lambda_function(
        "guarded",
        timeout=60,
        reserved_concurrency=SLOTS,
        max_pending=0,
        retry=Retry(attempts=3, initial=0.1, jitter="none"),
        **common,
    )
    service.lambda_function(
        "aged",
        timeout=1,
        retry=Retry(attempts=100, initial=0.3, maximum=0.3, max_age=1.5),
        **common,
    )
    return service
