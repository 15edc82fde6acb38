import logging

from eventmesh.http.limits.refusals import SILENCE, Refusals


async def test_all_are_counted_and_some_are_logged(clock, caplog):
    refusals = Refusals(clock, "a body was refused")
    for number in range(1000):
        refusals.add(f"number {number}")
    await clock.advance(SILENCE)
    refusals.add("the last one")
    assert refusals.count == 1001
    assert [record.message for record in caplog.records] == [
        "a body was refused (number 0)",
        "a body was refused (the last one); 999 more since the last such line",
    ]


async def test_what_only_its_client_notices_is_no_warning(clock, caplog):
    with caplog.at_level(logging.INFO):
        Refusals(clock, "a client was slow", logging.INFO).add()
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "a client was slow")
    ]
