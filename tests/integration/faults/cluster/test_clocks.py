"""The wall clocks of workers are set under load, and are right again in the end."""


async def test_clocks_are_set_forward_and_back(under_load, size):
    seconds = size(4, 60)
    async with under_load(
        f"clocks set {seconds} s forward and back, one worker's at a time"
    ) as load:
        for worker in load.fleet.workers:
            for offset in (seconds, -seconds, 0):
                await worker.set_clock(offset)
                await load.progress()
