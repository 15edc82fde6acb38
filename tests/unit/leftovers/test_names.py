"""Which functions the records name, whoever runs."""

from eventmesh.leftovers.names import read_recorded_functions
from eventmesh.model.errors import AccessDenied
from eventmesh.model.topology import record_name


async def test_functions_that_nobody_runs_are_named(shop, broker, inspector, clock):
    assert await read_recorded_functions(broker, inspector, clock) == frozenset()
    async with shop.process(sell=("order.*",)):
        pass
    async with shop.process(service="bank", pay=("bill.*",)):
        pass
    named = await read_recorded_functions(broker, inspector, clock)
    assert named == {"shop.sell", "bank.pay"}


async def test_what_may_not_be_read_is_left_out(shop, broker, inspector, clock):
    async with shop.process(sell=("order.*",)), shop.process(service="bank", pay=("bill.*",)):
        pass

    class Restricted:
        async def describe(self, queue):
            if queue.name == record_name("bank"):
                raise AccessDenied("not for you")
            return await inspector.describe(queue)

    assert await read_recorded_functions(broker, Restricted(), clock) == {"shop.sell"}
