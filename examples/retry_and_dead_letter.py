"""Retries, and what becomes of an invocation that never succeeds.

Run it:   eventmesh dev examples/retry_and_dead_letter.py
Fire it:  eventmesh send mailer.deliver '{"to": "flaky@example.com"}'      # twice wrong, then right
          eventmesh send mailer.deliver '{"to": "down@example.com"}'       # wrong for ever
          eventmesh send mailer.deliver '{"to": "nobody@example.com"}'     # a dead letter at once
          eventmesh dlq list mailer.deliver
          eventmesh dlq redrive mailer.deliver --all

A raised exception is retried with exponential backoff. `RetryLater` says itself when, and `Reject`
that there is no point. What is given up lies in the function's dead-letter queue, with the reason.
"""

from pydantic import BaseModel

from eventmesh import Context, Reject, Retry, RetryLater, Service

app = Service("mailer")


class Mail(BaseModel):
    to: str


@app.function(retry=Retry(attempts=4, initial="2s", factor=3, maximum="1m", jitter="none"))
async def deliver(mail: Mail, ctx: Context) -> None:
    match mail.to.partition("@")[0]:
        case "nobody":
            raise Reject(f"there is no {mail.to}")
        case "busy" if ctx.attempt == 1:
            raise RetryLater(after=30, reason="the server asked us to come back later")
        case "flaky" if ctx.attempt < 3:
            raise ConnectionError("the server hung up")
        case "down":
            raise ConnectionError("the server does not answer")
        case _:
            ctx.logger.info("delivered to %s at attempt %d", mail.to, ctx.attempt)
