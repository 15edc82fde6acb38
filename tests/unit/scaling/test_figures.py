from eventmesh.model.work import NOTHING, Work
from eventmesh.scaling.figures import RATE_SECONDS, Counts, FunctionFigures


def work(items, seconds=0.0):
    return Work(ended=items, items=items, seconds=seconds)


def test_one_reading_is_no_rate():
    figures = FunctionFigures()
    assert figures.arriving == 0.0
    figures.add(Counts(0.0, work(1_000_000), 5, 5))
    assert figures.arriving == 0.0


def test_what_ended_and_what_still_waits_has_arrived():
    figures = FunctionFigures()
    figures.add(Counts(0.0, work(100), 0, 0))
    figures.add(Counts(10.0, work(150), 30, 20))
    assert figures.arriving == 10.0


def test_a_backlog_that_is_worked_off_does_not_arrive():
    figures = FunctionFigures()
    figures.add(Counts(0.0, NOTHING, 100, 0))
    figures.add(Counts(10.0, work(90), 10, 0))
    assert figures.arriving == 0.0


def test_what_a_purge_took_away_is_not_below_zero():
    figures = FunctionFigures()
    figures.add(Counts(0.0, NOTHING, 100, 0))
    figures.add(Counts(10.0, NOTHING, 0, 0))
    assert figures.arriving == 0.0


def test_the_mean_is_that_of_the_last_runs_and_stays_when_there_are_none():
    figures = FunctionFigures()
    assert figures.duration is None
    figures.add(Counts(0.0, work(10, 10.0), 0, 0))
    assert figures.duration == 1.0
    figures.add(Counts(5.0, work(20, 12.0), 0, 0))
    assert figures.duration == 0.2
    for second in range(10, 60, 5):
        figures.add(Counts(float(second), work(20, 12.0), 0, 0))
    assert figures.duration == 0.2


def test_rates_are_of_the_last_seconds_and_begin_anew_after_a_gap():
    figures = FunctionFigures()
    for second in range(0, 100, 5):
        figures.add(Counts(float(second), work(min(second, 50) * 10), 0, 0))
    assert figures.arriving == 0.0
    figures.add(Counts(100 + 2 * RATE_SECONDS, work(5_000), 0, 0))
    assert figures.arriving == 0.0
