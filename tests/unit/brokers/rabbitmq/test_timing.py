from itertools import islice

from eventmesh.brokers.rabbitmq.timing import FIRST_WAIT, LONGEST_WAIT, backoff


def test_the_end_of_an_outage_is_seen_within_two_seconds():
    assert FIRST_WAIT == 0.1
    assert LONGEST_WAIT <= 2


def test_waits_grow_to_a_bound_and_are_drawn_at_random():
    for wait, longest in zip(islice(backoff(), 40), doubled(), strict=False):
        assert longest / 2 <= wait <= longest
    assert max(islice(backoff(7.0), 40)) > LONGEST_WAIT
    assert len({next(backoff()) for _ in range(20)}) > 1


def doubled():
    wait = FIRST_WAIT
    while True:
        yield min(wait, LONGEST_WAIT)
        wait *= 2
