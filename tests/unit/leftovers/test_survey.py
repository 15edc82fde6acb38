from eventmesh.engine.upkeep.leftovers import Remains
from eventmesh.leftovers.record import FunctionRecord, Record, read_record
from eventmesh.leftovers.survey import (
    AbandonedQueue,
    DroppedPattern,
    find_remains,
    survey_service,
)
from eventmesh.model.message import Message
from eventmesh.model.topology import (
    Binding,
    dead_letters,
    inbox,
    named,
    record_name,
    to_queue,
)
from eventmesh.presence import Instance

THEN = 1_764_000_000.0


def instance(*functions):
    names = [{"name": name, "triggers": [], "limits": {"max_pending": 1}} for name in functions]
    return Instance("1", "host", 7, THEN, {"shop": ""}, names)


async def store(broker, queue, count, clock):
    await broker.declare([queue])
    for number in range(count):
        await broker.publish(to_queue(queue), Message(b"1", f"{number}", clock.now()))


async def test_what_is_left_is_found_with_its_depth(broker, clock, inspector):
    record = Record(
        {
            "shop.f": FunctionRecord({"order.placed": 0.0, "order.*": THEN}, {"sales": THEN}),
            "shop.g": FunctionRecord({"order.#": THEN}, gone=THEN),
            "shop.h": FunctionRecord(unbound={"order.#": THEN}, gone=THEN),
            "shop.nothing": FunctionRecord({"x": THEN}, gone=THEN),
        }
    )
    await broker.declare([], [Binding(inbox("shop.g"), "order.#")])
    await store(broker, inbox("shop.g"), 3, clock)
    await store(broker, dead_letters("shop.h"), 2, clock)
    await store(broker, named("sales"), 1, clock)
    survey = await survey_service(inspector, record, "shop", [instance("shop.f")])
    assert survey.processes == 1
    assert survey.remains == [
        Remains("shop.g", THEN, ("order.#",), 3, None),
        Remains("shop.h", THEN, (), None, 2),
    ]
    assert survey.dropped == [DroppedPattern("shop.f", "order.*", THEN)]
    assert survey.abandoned == [AbandonedQueue("sales", "shop.f", THEN, 1)]


async def test_all_of_a_service_that_does_not_run_is_left(broker, clock, inspector):
    record = Record({"shop.f": FunctionRecord({"order.placed": 0.0})})
    await store(broker, inbox("shop.f"), 0, clock)
    survey = await survey_service(inspector, record, "shop", [])
    assert (survey.processes, survey.dropped) == (0, [])
    assert survey.remains == [Remains("shop.f", 0.0, ("order.placed",), 0, None)]


async def test_a_function_in_no_record(broker, clock, inspector):
    assert (await find_remains(inspector, "shop.f")).is_empty
    await store(broker, inbox("shop.f"), 1, clock)
    assert await find_remains(inspector, "shop.f") == Remains("shop.f", 0.0, (), 1, None)


async def test_looking_for_a_record_does_not_make_one(broker, clock, inspector):
    assert await read_record(broker, inspector, clock, "shop") == Record()
    assert await inspector.describe(named(record_name("shop"))) is None
