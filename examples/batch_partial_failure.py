r"""Batches: many messages at once, of which only those that failed come back.

Run it:   eventmesh dev examples/batch_partial_failure.py
Fire it:  for amount in 10 20 -5 30; do
              eventmesh send queue:payments "{\"account\": \"a\", \"amount\": $amount}"
          done

A batch is full with 100 messages, or when its first message has waited a second. A payment that
does not validate never reaches the handler; it is a dead letter at once, and the others run.
"""

from pydantic import BaseModel

from eventmesh import Context, PartialFailure, Reject, Retry, Service, on

app = Service("ledger")


class Payment(BaseModel):
    account: str
    amount: int


@app.function(
    on.queue("payments", batch=100, batch_window="1s"),
    retry=Retry(attempts=3, initial="10s", jitter="none"),
)
async def book(payments: list[Payment], ctx: Context) -> None:
    """Book them all in one go, and say which of them could not be."""
    failures: dict[int, Exception | str] = {}
    for index, payment in enumerate(payments):
        if payment.account == "closed":
            failures[index] = Reject("the account is closed")  # Trying again cannot help.
        elif payment.amount < 0:
            failures[index] = "there is no money to refund yet"  # It may help: retried.
    booked = sum(one.amount for index, one in enumerate(payments) if index not in failures)
    await ctx.emit("payments.booked", {"total": booked, "failed": len(failures)})
    if failures:
        raise PartialFailure(failures)
