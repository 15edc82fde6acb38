"""Worker processes that share one HTTP port."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from eventmesh.brokers.registry import check_registered
from eventmesh.http.auth.build import serves_api
from eventmesh.http.server.sockets import api_settings, bind_socket
from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import MEMORY, Settings, variable
from eventmesh.observability.logs import configure_logging
from eventmesh.processes.supervisor import supervise
from eventmesh.processes.worker_process import WorkerSpec

END_MARGIN = 5.0
"""Seconds beyond the grace time that a worker has to end before it is killed."""


def run_workers(
    arguments: Sequence[str],
    workers: int,
    settings: Settings,
    environment: Mapping[str, str],
    *,
    debug: bool,
) -> int:
    """Run `workers` processes with these arguments until told to stop, and return the exit code.

    The workers read the same settings from `environment`. Raises SettingsError.
    """
    _check(settings, workers)
    configure_logging(settings.log_format, settings.log_level)
    with bind_socket(settings) as listener, ExitStack() as stack:
        descriptors = [listener.fileno()]
        overrides: dict[str, object] = {
            "http_fd": listener.fileno(),
            # Only the supervisor asks the workers' admin listeners; it answers for all of them.
            "admin_host": "127.0.0.1",
            "admin_port": 0,
            "debug": debug,
        }
        if serves_api(settings) and (own := api_settings(settings)) is not None:
            api_listener = stack.enter_context(bind_socket(own))
            overrides["api_fd"] = api_listener.fileno()
            descriptors.append(api_listener.fileno())
        spec = WorkerSpec(
            arguments,
            {**environment, **{variable(name): str(one) for name, one in overrides.items()}},
            descriptors,
            settings.grace + END_MARGIN,
        )
        return asyncio.run(supervise(spec, workers, listener, settings))


def _check(settings: Settings, workers: int) -> None:
    if not hasattr(signal, "SIGHUP"):
        raise SettingsError(
            "worker processes need a Unix system: use 'eventmesh dev --no-reload' here"
        )
    check_registered(settings.broker)
    if settings.broker == MEMORY and workers > 1:
        raise SettingsError(
            f"{workers} workers cannot share the embedded broker, which lives inside one process: "
            "name a RabbitMQ with --broker amqp://…, or run one worker"
        )
