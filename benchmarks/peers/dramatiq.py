"""Dramatiq: one process of its command, with eight threads."""

from __future__ import annotations

import threading
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.worker import Worker

from benchmarks.job import Job, Tally, publish_one_by_one
from benchmarks.order import ORDER, Order

THREADS = 8
PREFETCH = 500


def _actor(job: Job, *, confirms: bool) -> dramatiq.Actor[[dict[str, Any]], None]:
    broker = RabbitmqBroker(url=job.url, confirm_delivery=confirms)
    dramatiq.set_broker(broker)
    tally = Tally(job.count)

    @dramatiq.actor(queue_name=job.queue)
    def handle(order: dict[str, Any]) -> None:
        Order.model_validate(order)
        tally.one()

    return handle


def fill(job: Job) -> None:
    handle, order = _actor(job, confirms=False), ORDER.model_dump()
    for _ in range(job.count):
        handle.send(order)
    handle.broker.close()


def consume(job: Job) -> None:
    worker = Worker(_actor(job, confirms=False).broker, worker_threads=THREADS)
    worker.queue_prefetch = PREFETCH
    worker.start()
    threading.Event().wait()


def publish(job: Job) -> None:
    handle, order = _actor(job, confirms=True), ORDER.model_dump()
    publish_one_by_one(lambda: handle.send(order), job)
