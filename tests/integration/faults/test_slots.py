"""Mesh-wide slots: never more runs than slots, and no slot is lost with its holder."""

import random

from fleet import Progress, fleet

SLOTS = 3


async def test_killed_holders_free_their_slots_and_the_limit_holds(
    rabbitmq, broker_at, mesh_of, size, capsys
):
    total, kills = size(120, 1_000), size(6, 40)
    url = await rabbitmq.new_virtual_host()
    done = Progress()
    running = {}
    most = 0
    chance = random.Random(11)

    def listen(worker, line):
        nonlocal most
        what, number = line.split()
        if what == "enter":
            running.setdefault(worker.pid, set()).add(number)
            most = max(most, sum(map(len, running.values())))
        else:
            running[worker.pid].discard(number)
            done.add(number)

    async with broker_at(url) as broker, fleet(url, "slots", 4, listen) as workers:
        mesh = mesh_of(broker)
        for number in range(total):
            await mesh.send("slots.guarded", {"number": number})
        for kill in range(kills):
            await done.reach(total * (kill + 1) // (kills + 2))
            holders = [one for one in workers.workers if running.get(one.pid)]
            victim = chance.choice(holders or workers.workers)
            victim.kill()
            await victim.process.wait()
            running.pop(victim.pid, None)
            await workers.replace(victim)
        await done.reach(total)
        # All slots are still there: as many runs at once as there are slots.
        most = 0
        for number in range(total, total + 30):
            await mesh.send("slots.guarded", {"number": number})
        await done.reach(total + 30)

    with capsys.disabled():
        print(f"\nslots: {total} runs, {kills} holders killed, {most} of {SLOTS} slots at the end")
    assert most == SLOTS
