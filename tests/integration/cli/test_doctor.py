import json
import os
import re
import signal

import pytest

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.leftovers.record import FunctionRecord, Record, dump_record
from eventmesh.model.message import Message
from eventmesh.model.topology import SERVICES, dead_letters, inbox, record_name, to_queue

APP = """
from eventmesh import Service, on

service = Service("shop")

@service.function(max_pending=7)
async def sell() -> None: ...

@service.function(on.queue("sales", declare=False))
async def take(sale: dict) -> None: ...
"""
READY = r"is ready at http://[0-9.:]+"


@pytest.fixture
async def url(rabbitmq):
    return await rabbitmq.new_virtual_host()


@pytest.fixture
def vhost(url):
    return url.rpartition("/")[2]


@pytest.fixture
def doctor(ask, url):
    """Run the doctor, and give its exit code and what is not well: a subject and the rest.

    `sees` is what a process that answers has it find.
    """

    async def doctor(*arguments, sees=""):
        ended = await ask(
            *("doctor", "--json", *arguments),
            expect=lambda ended: ended.code in (0, 1) and sees in ended.out,
            EVENTMESH_BROKER=url,
        )
        findings = json.loads(ended.out)
        return ended.code, {
            finding["subject"]: finding for finding in findings if finding["level"] != "ok"
        }

    return doctor


@pytest.fixture
async def other(url):
    """Another client of the broker."""
    async with RabbitBroker(url, name="test", connect_timeout=60) as broker:
        yield broker


async def declare(rabbitmq, vhost, name, kind):
    """Make a queue as another system would."""
    arguments = f'[{{<<"x-queue-type">>, longstr, <<"{kind}">>}}]'
    resource = f'rabbit_misc:r(<<"{vhost}">>, queue, <<"{name}">>)'
    await rabbitmq.ctl(
        "eval",
        f'rabbit_amqqueue:declare({resource}, true, false, {arguments}, none, <<"test">>).',
    )


async def test_a_mesh_that_is_well(launch, ask, write, rabbitmq, url, vhost):
    write("app.py", APP)
    await declare(rabbitmq, vhost, "sales", "quorum")
    environment = {"EVENTMESH_BROKER": url}
    process = await launch(
        "run", "--workers=2", "--port=0", "--admin-port=0", "app.py", **environment
    )
    for _ in range(2):
        await process.line(READY)
    ended = await ask("doctor", "app.py", expect=lambda ended: ended.code == 0, **environment)
    assert ended.out == "11 checks passed.\n"
    shown = await ask(
        *("doctor", "--all"), expect=lambda ended: "em.rpc.shop.sell" in ended.out, **environment
    )
    assert shown.code == 0


async def test_nothing_is_made_where_nothing_runs(doctor, write, rabbitmq, vhost):
    write("app.py", APP)
    code, findings = await doctor("app.py")
    assert code == 1
    assert "declare=False" in findings.pop("sales")["advice"]
    assert {one["level"] for one in findings.values()} == {"note"}
    assert (
        findings["em.inbox.shop.sell"]["what"] == "it does not exist: no process serves shop.sell"
    )
    assert await rabbitmq.queues(vhost) == {}


async def test_a_queue_that_differs_from_the_code(doctor, write, rabbitmq, vhost):
    write("app.py", APP)
    for name in ("sales", "em.inbox.shop.sell"):
        await declare(rabbitmq, vhost, name, "classic")
    code, findings = await doctor("app.py")
    assert code == 1
    assert "sales" not in findings
    differing = findings["em.inbox.shop.sell"]
    assert differing["level"] == "problem"
    # RabbitMQ tells one difference, of its own choice.
    assert re.fullmatch(r"its x-[a-z-]+ is \S+, and the code says \S+", differing["what"])
    assert "rabbitmqctl delete_queue em.inbox.shop.sell" in differing["advice"]


async def test_consumers_that_are_too_many(launch, doctor, write, other, rabbitmq, url, vhost):
    write("app.py", APP)
    await declare(rabbitmq, vhost, "sales", "quorum")
    process = await launch("run", "--port=0", "--admin-port=0", "app.py", EVENTMESH_BROKER=url)
    await process.line(READY)
    async with other.consume(inbox("shop.sell"), lambda delivery: delivery.requeue(), prefetch=1):
        code, findings = await doctor(sees="1 process serves shop.sell")
    assert code == 1
    (doubled,) = findings.values()
    assert doubled["subject"] == "em.inbox.shop.sell"
    assert doubled["what"] == "2 consumers, and 1 process serves shop.sell"


async def test_queues_that_were_deleted(launch, doctor, write, rabbitmq, url, vhost):
    write("app.py", APP)
    await declare(rabbitmq, vhost, "sales", "quorum")
    process = await launch("run", "--port=0", "--admin-port=0", "app.py", EVENTMESH_BROKER=url)
    await process.line(READY)
    await rabbitmq.delete_queue("em.inbox.shop.sell", vhost)
    # Its consumer declares both when it starts again.
    await process.line("the consumer of em.inbox.shop.sell was started again")
    await rabbitmq.delete_queue("em.dead.shop.sell", vhost)
    code, findings = await doctor(sees="1 process serves shop.sell")
    assert code == 1
    (missing,) = findings.values()
    assert missing["subject"] == "em.dead.shop.sell"
    assert missing["what"] == "it does not exist, and 1 process serves shop.sell"
    assert "created again for the next dead letter" in missing["advice"]


async def test_a_process_that_does_not_answer(launch, doctor, write, rabbitmq, url, vhost):
    write("app.py", APP)
    await declare(rabbitmq, vhost, "sales", "quorum")
    process = await launch("run", "--port=0", "--admin-port=0", "app.py", EVENTMESH_BROKER=url)
    pid = int((await process.line(r"worker 1 \(process (\d+)\) is ready"))[1])
    os.kill(pid, signal.SIGSTOP)
    try:
        code, findings = await doctor("app.py")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert code == 1
    found = findings["em.inbox.shop.sell"]
    assert found["what"] == "1 consumer, and no processes serve shop.sell"
    assert "a process does not answer" in found["advice"]


@pytest.mark.disruptive
async def test_an_alarm_is_all_there_is_to_tell(launch, doctor, run, write, rabbitmq, url, vhost):
    write("app.py", APP)
    await declare(rabbitmq, vhost, "sales", "quorum")
    process = await launch("run", "--port=0", "--admin-port=0", "app.py", EVENTMESH_BROKER=url)
    await process.line(READY)
    await rabbitmq.raise_memory_alarm()
    while "memory" not in await rabbitmq.ctl("eval", "rabbit_alarm:get_alarms()."):
        pass
    code, findings = await doctor("app.py")
    assert (code, findings.keys()) == (1, {"alarms"})
    assert "low on memory" in findings["alarms"]["what"]
    ended = await run("ps", EVENTMESH_BROKER=url)
    assert (ended.code, ended.out) == (4, "")
    assert "low on memory" in ended.err


async def test_a_broker_that_is_not_there(run):
    ended = await run("doctor", "--broker", "amqp://127.0.0.1:1")
    assert (ended.code, ended.out) == (4, "")
    assert "127.0.0.1:1" in ended.err


async def test_the_embedded_broker_needs_no_doctor(run):
    ended = await run("doctor")
    assert ended.code == 2
    assert "--broker amqp://" in ended.err


async def test_what_no_code_has_any_more(launch, doctor, write, other, rabbitmq, url, vhost):
    then = 1_764_412_200.0
    record = Record(
        {
            "shop.sell": FunctionRecord({"order.*": then}),
            "shop.audit": FunctionRecord({"order.#": then}, gone=then),
            "shop.sms": FunctionRecord(gone=then),
        }
    )
    async with other.lease(record_name("shop")) as lease:
        await lease.save(dump_record(record))
    async with other.lease(record_name("mail")) as lease:
        await lease.save(dump_record(Record({"mail.send": FunctionRecord({"order.#": 0.0})})))
    async with other.lease(SERVICES) as lease:
        await lease.save(b'["mail", "shop"]')
    queues = [inbox("shop.audit"), dead_letters("shop.sms"), inbox("mail.send")]
    await other.declare(queues)
    for queue in queues:
        await other.publish(to_queue(queue), Message(b"1", "1", then))

    write("app.py", APP)
    await declare(rabbitmq, vhost, "sales", "quorum")
    process = await launch("run", "--port=0", "--admin-port=0", "app.py", EVENTMESH_BROKER=url)
    await process.line(READY)
    code, findings = await doctor("app.py", sees="still gets order.*")
    assert code == 1
    removed = findings["em.inbox.shop.audit"]
    assert removed["level"] == "problem"
    assert "since 2025-11-29 10:30 UTC: 1 invocation waits" in removed["what"]
    assert "eventmesh prune shop.audit" in removed["advice"]
    renamed = findings["em.dead.shop.sms"]
    assert (renamed["level"], renamed["what"][-13:]) == ("note", "1 dead letter")
    stopped = findings["mail"]
    assert stopped["level"] == "problem"
    assert "1 invocation waits; still subscribed to order.#" in stopped["what"]
    assert "still gets order.*" in findings["em.inbox.shop.sell"]["what"]


async def test_records_that_the_user_may_not_read(doctor, rabbitmq, other, vhost):
    async with other.lease(SERVICES) as lease:
        await lease.save(b'["mail", "shop"]')
    await rabbitmq.ctl("set_permissions", "-p", vhost, "guest", "^em.presence", ".*", ".*")
    code, findings = await doctor()
    assert code == 0
    assert "leftovers (configure, write and read on em.services)" in findings["rights"]["what"]
    assert "leftovers" not in findings
