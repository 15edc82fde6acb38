from itertools import islice

from eventmesh.brokers.rabbitmq.timing import FIRST_WAIT, LONGEST_WAIT, backoff


def test_waits_grow_to_a_bound_and_are_drawn_at_random():
    for wait, longest in zip(islice(backoff(), 40), doubled(), strict=False):
        assert longest / 2 <= wait <= longest
    assert len({next(backoff()) for _ in range(20)}) > 1


def doubled():
    wait = FIRST_WAIT
    while True:
        yield min(wait, LONGEST_WAIT)
        wait *= 2
