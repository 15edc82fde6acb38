"""Lambda functions in three processes on RabbitMQ: limits that hold, and outcomes for everybody."""

import asyncio
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from botocore.exceptions import ClientError
from fleet import Progress, fleet
from lambda_clients import Lambda
from lambda_service import SLOTS

from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters
from eventmesh.processes.worker import serve_gateway

PROCESSES = 3
CALLERS = 20
RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"


class Outcomes:
    """The records that the destinations get."""

    def __init__(self):
        self.all = Progress()
        self.records = defaultdict(list)

    def listen(self, worker, line):
        outcome, number, attempts, kind, *reason = line.split(maxsplit=4)
        self.records[int(number)].append((outcome, int(attempts), kind, *reason))
        self.all.add(int(number))


def read_ledger(folder):
    """How often each number was run, which ones ended well, and the places that were taken."""
    runs, done, places = defaultdict(int), set(), set()
    for line in (folder / "ledger").read_text().splitlines():
        what, number, place = line.split()
        places.add(int(place))
        if what == "enter":
            runs[int(number)] += 1
        else:
            done.add(int(number))
    return runs, done, places


async def test_outcomes_retries_and_the_reserved_concurrency_are_exact(
    rabbitmq, broker_at, mesh_of, size, tmp_path, record_figure
):
    total = size(300, 10_000)
    url = await rabbitmq.new_virtual_host()
    outcomes = Outcomes()
    always, once = set(range(0, total, 50)), set(range(1, total, 10))
    old = range(total, total + 5)
    async with (
        broker_at(url) as broker,
        fleet(url, "functions", PROCESSES, outcomes.listen, str(tmp_path)),
    ):
        mesh = mesh_of(broker)
        for number in range(total):
            fail = "always" if number in always else number in once
            await mesh.send("functions.guarded", {"number": number, "fail": fail})
        await outcomes.all.reach(total)
        runs, done, places = read_ledger(tmp_path)
        for number in old:
            await mesh.send("functions.aged", {"number": number, "fail": "always"})
        await outcomes.all.reach(total + len(old))
        letters = await broker.depth(dead_letters("functions.guarded"))

    record_figure(
        f"lambdas: {total:,} asynchronous invocations in {PROCESSES} processes, "
        f"{sum(runs.values()):,} runs with retries; {len(places)} at once of {SLOTS} reserved; "
        f"{outcomes.all.duplicates} records twice, {letters} dead letters"
    )
    assert places == set(range(SLOTS))
    assert done == set(range(total)) - always
    assert letters == len(always)
    for number in range(total):
        outcome, attempts, kind, *_ = outcomes.records[number][0]
        failing = number in always
        assert outcome == ("failure" if failing else "success")
        assert attempts == runs[number] == (3 if failing else 2 if number in once else 1)
        assert kind == ("ValueError" if failing else "None")
    for number in old:
        [(outcome, attempts, _, reason)] = outcomes.records[number]
        assert outcome == "failure"
        assert "older than" in reason
        assert 1 <= attempts < 100


async def test_callers_beyond_the_reserved_concurrency_are_refused_as_on_aws(
    rabbitmq, broker_at, size, tmp_path, record_figure
):
    total = size(40, 2_000)
    url = await rabbitmq.new_virtual_host()
    refusals = defaultdict(int)
    async with (
        broker_at(url) as broker,
        fleet(url, "functions", PROCESSES, Outcomes().listen, str(tmp_path)),
        serve_gateway(broker, Settings(http_port=0)) as door,
    ):
        aws = Lambda(door.addresses["http"], max_pool_connections=CALLERS)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(CALLERS))
        numbers = iter(range(total))
        ended = asyncio.Condition()

        async def call(number):
            """Try until it has run: again each time that another call has."""
            while True:
                payload = b'{"number": %d, "seconds": 0.6}' % number
                try:
                    answer = await aws.invoke("functions.guarded", payload)
                except ClientError as error:
                    response = error.response
                    status = response["ResponseMetadata"]["HTTPStatusCode"]
                    refusals[status, response["Error"]["Code"], response.get("Reason")] += 1
                    # It may have ended before we wait: then there is no other to wait for.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.5), ended:
                            await ended.wait()
                    continue
                assert answer["Payload"] == b"%d" % number
                async with ended:
                    ended.notify_all()
                return

        async def call_all():
            for number in numbers:
                await call(number)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CALLERS):
                tasks.create_task(call_all())
    runs, done, places = read_ledger(tmp_path)
    record_figure(
        f"lambdas: {total:,} callers, {CALLERS} at once, all ran, {len(places)} at once of {SLOTS} "
        f"reserved; refused meanwhile: {dict(refusals)}"
    )
    assert places == set(range(SLOTS))
    assert done == set(range(total))
    assert set(runs.values()) == {1}
    assert set(refusals) == {(429, "TooManyRequestsException", RESERVED)}
