"""Nameko: a service on eventlet, and its stand-alone proxy."""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

import time
from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import Any

from kombu import Exchange, Queue
from nameko.amqp.publish import Publisher
from nameko.containers import ServiceContainer
from nameko.messaging import consume as consumes
from nameko.rpc import rpc
from nameko.standalone.rpc import ClusterRpcProxy

from benchmarks.job import Job, Tally, publish_one_by_one, report
from benchmarks.order import ORDER, Order

WORKERS = 100


def _config(job: Job) -> dict[str, Any]:
    return {"AMQP_URI": job.url, "max_workers": WORKERS}


def _run(service: type, job: Job) -> None:
    container = ServiceContainer(service, config=_config(job))
    container.start()
    report()
    container.wait()


def consume(job: Job) -> None:
    tally = Tally(job.count)

    class Handler:
        name = job.queue

        @consumes(Queue(job.queue, durable=True))
        def handle(self, order: Mapping[str, Any]) -> None:
            Order.model_validate(order)
            tally.one()

    _run(Handler, job)


def serve(job: Job) -> None:
    class Handler:
        name = job.queue

        @rpc
        def handle(self, order: Mapping[str, Any]) -> dict[str, Any]:
            return Order.model_validate(order).model_dump()

    _run(Handler, job)


def request(job: Job) -> None:
    order = ORDER.model_dump()
    with ClusterRpcProxy(_config(job)) as mesh:
        handle = mesh[job.queue].handle

        def one_by_one(count: int) -> float:
            times: list[float] = []
            for _ in range(count):
                started = time.perf_counter()
                Order.model_validate(handle(order))
                times.append(time.perf_counter() - started)
            return median(times) * 1000

        def in_flight() -> float:
            started = time.perf_counter()
            waiting = deque(handle.call_async(order) for _ in range(job.in_flight))
            for _ in range(job.count - job.in_flight):
                Order.model_validate(waiting.popleft().result())
                waiting.append(handle.call_async(order))
            for answer in waiting:
                Order.model_validate(answer.result())
            return job.count / (time.perf_counter() - started)

        alone = max(1, job.count // 10)
        one_by_one(alone // 5)
        report(p50=one_by_one(alone), rate=in_flight())


def publish(job: Job) -> None:
    queue, order = Queue(job.queue, durable=True), ORDER.model_dump()
    publisher = Publisher(job.url, serializer="json", exchange=Exchange(""), declare=[queue])
    publish_one_by_one(lambda: publisher.publish(order, routing_key=job.queue), job)
