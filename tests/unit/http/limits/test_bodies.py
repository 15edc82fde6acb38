from eventmesh.http.limits.bodies import BodyBudget, BodyHold


def test_bodies_have_so_many_bytes_together():
    budget = BodyBudget(100)
    first, second = BodyHold(budget), BodyHold(budget)
    assert first.take(60)
    assert first.take(20)
    assert not second.take(21)
    assert second.take(20)
    assert budget.held == 100
    first.release()
    assert budget.held == 20
    assert second.take(80)


def test_what_was_refused_is_not_held():
    budget = BodyBudget(10)
    hold = BodyHold(budget)
    assert not hold.take(11)
    hold.release()
    assert budget.held == 0


def test_the_last_holder_gives_it_back():
    budget = BodyBudget(10)
    hold = BodyHold(budget)
    hold.take(7)
    hold.keep()
    hold.release()
    assert budget.held == 7
    hold.release()
    assert budget.held == 0


def test_a_holder_that_comes_late_takes_it_again():
    budget = BodyBudget(10)
    hold = BodyHold(budget)
    hold.take(7)
    hold.release()
    hold.keep()
    assert budget.held == 7
    hold.release()
    assert budget.held == 0
