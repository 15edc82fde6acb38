"""Worker processes that share one HTTP port."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from eventmesh.brokers.registry import check_registered
from eventmesh.cli.process_options import settings_with
from eventmesh.http.server.sockets import bound_socket
from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import MEMORY, Settings, variable
from eventmesh.observability.logs import configure_logging
from eventmesh.processes.supervisor import supervise
from eventmesh.processes.worker_process import Launch

END_MARGIN = 5.0
"""Seconds more than the grace time that a worker may take to end before it is killed."""


def run_workers(
    arguments: Sequence[str], workers: int, options: Mapping[str, Any], *, debug: bool
) -> int:
    """Run so many workers with these arguments until told to stop, and return the exit code.

    `options` are settings that were given on the command line. Raises SettingsError.
    """
    settings, environment = settings_with(options)
    _check(settings, workers)
    configure_logging(settings.log_format, settings.log_level)
    with bound_socket(settings) as listener:
        own = {
            "http_fd": listener.fileno(),
            # Their admin listeners are for the supervisor, which is asked in their place.
            "admin_host": "127.0.0.1",
            "admin_port": 0,
            "debug": debug,
        }
        launch = Launch(
            arguments,
            {**environment, **{variable(name): str(one) for name, one in own.items()}},
            [listener.fileno()],
            settings.grace + END_MARGIN,
        )
        return asyncio.run(supervise(launch, workers, listener, settings))


def _check(settings: Settings, workers: int) -> None:
    if not hasattr(signal, "SIGHUP"):
        raise SettingsError(
            "worker processes need a Unix system; 'eventmesh dev --no-reload' runs services here"
        )
    check_registered(settings.broker)
    if settings.broker == MEMORY and workers > 1:
        raise SettingsError(
            f"{workers} workers cannot share the embedded broker, which lives inside one process: "
            "name a RabbitMQ with --broker amqp://…, or run one worker"
        )
