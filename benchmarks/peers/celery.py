"""Celery: one solo worker, acknowledging late, without the gossip of a fleet."""

from __future__ import annotations

from celery import Celery

from benchmarks.job import Job, Tally, publish_one_by_one
from benchmarks.order import ORDER, Order

PREFETCH = 500


def _app(job: Job) -> Celery:
    app = Celery("bench", broker=job.url)
    app.conf.update(
        broker_transport_options={"confirm_publish": True},
        task_acks_late=True,
        task_default_queue=job.queue,
        task_ignore_result=True,
        worker_prefetch_multiplier=PREFETCH,
        worker_redirect_stdouts=False,
    )
    tally = Tally(job.count)

    @app.task(name="handle", pydantic=True)
    def handle(order: Order) -> None:
        assert isinstance(order, Order)
        tally.one()

    return app


def fill(job: Job) -> None:
    app, order = _app(job), ORDER.model_dump()
    app.conf.broker_transport_options = {}
    for _ in range(job.count):
        app.tasks["handle"].delay(order)


def consume(job: Job) -> None:
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING"]
    _app(job).worker_main(["worker", "--pool=solo", "--concurrency=1", *quiet])


def publish(job: Job) -> None:
    app, order = _app(job), ORDER.model_dump()
    publish_one_by_one(lambda: app.tasks["handle"].delay(order), job)
