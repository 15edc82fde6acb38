"""Celery: quorum queues with its native delays, acknowledging late, retries by `self.retry`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from benchmarks.cluster.telling import (
    DELAY,
    FirstAttemptFails,
    call_all_in_threads,
    handled,
)


def _app(url: str) -> Celery:
    app = Celery("cluster", broker=url)
    app.conf.update(
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"confirm_publish": True},
        task_acks_late=True,
        task_default_exchange_type="topic",
        task_default_queue="celery.cluster",
        task_default_queue_type="quorum",
        task_ignore_result=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=10,
        worker_redirect_stdouts=False,
    )

    @app.task(name="now")
    def now(number: int) -> None:
        handled("asynchronous", number)

    @app.task(name="later")
    def later(number: int) -> None:
        handled("delayed", number)

    @app.task(name="again", bind=True, max_retries=10)
    def again(self: Any, number: int) -> None:
        if self.request.retries == 0:
            raise self.retry(countdown=1, exc=FirstAttemptFails())
        handled("retried", number)

    return app


def work(url: str) -> None:
    quiet = ["--without-gossip", "--without-mingle", "--loglevel=ERROR"]
    # A worker's queue for commands has its name.
    name = f"--hostname={os.getpid()}@%h"
    _app(url).worker_main(["worker", "--pool=solo", "--concurrency=1", name, *quiet])


def call(url: str) -> None:
    tasks = _app(url).tasks
    call_all_in_threads(
        {
            "asynchronous": lambda one: tasks["now"].apply_async([one]),
            "delayed": lambda one: tasks["later"].apply_async([one], countdown=DELAY),
            "retried": lambda one: tasks["again"].apply_async([one]),
        }
    )
