"""What the doctor says of a store."""

from eventmesh.doctor.store import check_store, inspect_store
from eventmesh.store.admin import OutboxSummary, PendingMessage, StoreStatus
from eventmesh.store.migrate import SchemaStatus

CURRENT = SchemaStatus("0002", "0002", known=True)


def levels(schema, outbox=(), refused=(), now=1000.0):
    status = StoreStatus("sqlite:///x", schema, list(outbox))
    return [(each.level, each.subject) for each in check_store(status, refused, now)]


def test_tables_that_are_current_pass():
    assert levels(CURRENT) == [("ok", "store")]


def test_old_missing_and_newer_tables_are_problems():
    for current, known in (("", True), ("0001", True), ("9999", False)):
        assert levels(SchemaStatus(current, "0002", known=known)) == [("problem", "store")]


def test_messages_that_wait_for_long_are_a_problem():
    assert levels(CURRENT, [OutboxSummary("orders", 3, 990.0)]) == [("ok", "store")]
    found = levels(CURRENT, [OutboxSummary("orders", 3, 900.0)])
    assert found == [("ok", "store"), ("problem", "outbox")]


def test_a_refused_message_is_shown_with_its_reason():
    refused = PendingMessage(1, "id", "orders", "a.b", "", 4, 1.0, 3, 2.0, "it is too large")
    status = StoreStatus("sqlite:///x", CURRENT, [])
    _, finding = check_store(status, [refused], 1000.0)
    assert "orders to a.b: it is too large" in finding.what


async def test_a_store_that_cannot_be_opened_is_a_problem(tmp_path):
    (finding,) = await inspect_store(f"sqlite:///{tmp_path}/nowhere/store.db")
    assert finding.level == "problem"
    assert "create its folder" in finding.what
