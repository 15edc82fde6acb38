"""What the comparison on a cluster counts."""

from benchmarks.cluster.tally import Tally, parse


def test_what_was_confirmed_and_not_handled_is_lost():
    tally = Tally()
    tally.add("confirmed", 1, "")
    tally.add("confirmed", 2, "")
    tally.add("handled", 1, "")
    assert (tally.lost, tally.doubled) == (1, 0)


def test_what_was_refused_counts_by_its_reason_and_is_not_lost():
    tally = Tally()
    tally.add("refused", 1, "DeliveryError")
    assert (tally.lost, tally.refused) == (0, {"DeliveryError": 1})


def test_what_was_handled_again_is_doubled():
    tally = Tally()
    for _ in range(3):
        tally.add("handled", 1, "")
    assert tally.doubled == 2


def test_lines_of_frameworks_are_not_ours():
    assert parse("cluster:confirmed delayed 7 \n") == ("confirmed", "delayed", 7, "")
    assert parse("cluster:refused delayed 7 OSError\n") == ("refused", "delayed", 7, "OSError")
    assert parse("INFO: worker is ready\n") is None
