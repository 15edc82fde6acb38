"""Mesh-wide slots: never more runs than slots, and no slot is lost with its holder."""

from collections import defaultdict

from fleet import Progress, fleet

SLOTS = 3
BATCH = 25
"""Runs that are asked for before each kill."""


class Runs:
    """What the workers say of their runs, each of which takes the lowest free place."""

    def __init__(self):
        self.places = set()
        self.done = Progress()
        self.started = Progress()
        self.latest = None
        self.open = defaultdict(set)

    def listen(self, worker, line):
        what, number, place = line.split()
        if what == "enter":
            self.places.add(int(place))
            self.latest = worker
            self.open[worker.pid].add(number)
            self.started.add((worker.pid, number))
        else:
            self.open[worker.pid].discard(number)
            self.done.add(int(number))


async def test_killed_holders_free_their_slots_and_the_limit_holds(
    rabbitmq, broker_at, mesh_of, size, tmp_path, record_figure
):
    kills = size(6, 40)
    url = await rabbitmq.new_virtual_host()
    runs = Runs()
    total = 0

    async with (
        broker_at(url) as broker,
        fleet(url, "slots", 4, runs.listen, str(tmp_path / "places")) as workers,
    ):
        mesh = mesh_of(broker)

        async def ask_for(count):
            nonlocal total
            for _ in range(count):
                await mesh.send("slots.guarded", {"number": total})
                total += 1

        for _ in range(kills):
            await ask_for(BATCH)
            await runs.started.reach(len(runs.started.seen) + 1)
            await workers.replace(runs.latest)
        await runs.done.reach(total)
        most = max(runs.places) + 1
        # As many places are taken at once as ever: none was lost with its holder.
        runs.places.clear()
        while len(runs.places) < SLOTS:
            await ask_for(BATCH)
            await runs.done.reach(total)

    interrupted = sum(len(numbers) for numbers in runs.open.values())
    record_figure(
        f"slots: {total:,} runs in 4 processes, {kills} kill -9 of holders, which cut "
        f"{interrupted} runs short, {runs.done.duplicates} done twice; at most {most} at once "
        f"of {SLOTS} allowed, and {len(runs.places)} at the end"
    )
    assert interrupted
    assert most <= SLOTS
    assert runs.places == set(range(SLOTS))
