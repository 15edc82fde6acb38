"""OpenTelemetry's SDK, configured by its own environment variables."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

from eventmesh.model.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_log: Final = logging.getLogger(__name__)
_OTLP: Final[Mapping[str, str]] = {
    "http/protobuf": "otlp_proto_http",
    "grpc": "otlp_proto_grpc",
}
"""The exporter of each OTEL_EXPORTER_OTLP_PROTOCOL."""


@contextmanager
def export_traces(service: str) -> Generator[bool]:
    """Export the spans of this process as the OTEL_* variables say, while entered.

    Spans are exported if OTEL_EXPORTER_OTLP_ENDPOINT is set (by OTLP over HTTP), or if
    OTEL_TRACES_EXPORTER names exporters. OpenTelemetry's specification defines the other OTEL_*
    variables. `service` is the service.name unless a variable sets one. Yields whether spans are
    exported; leaving exports the rest. A tracer provider that was set before stays. For the
    launcher, before it builds pipelines.

    Raises SettingsError if a named exporter is not installed.
    """
    exporters = _exporters()
    if not exporters or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield False
    elif find_spec("opentelemetry.sdk") is None:
        _log.warning(
            "OTEL_* variables ask for traces, but the exporter is not installed: "
            "install eventmesh[otel]"
        )
        yield False
    else:
        provider = _provider(service, exporters)
        trace.set_tracer_provider(provider)
        try:
            yield True
        finally:
            provider.shutdown()


def _exporters() -> list[str]:
    """Return the names of the exporters that the variables ask for."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return []
    default = "otlp" if _otlp_setting("ENDPOINT") else "none"
    names = os.environ.get("OTEL_TRACES_EXPORTER", default).split(",")
    return [name.strip() for name in names if name.strip() not in ("", "none")]


def _otlp_setting(name: str) -> str | None:
    general = os.environ.get(f"OTEL_EXPORTER_OTLP_{name}")
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}", general)


def _provider(service: str, exporters: list[str]) -> TracerProvider:
    # Imported when used: the SDK is an extra and slow to import.
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service}))
    processors = [BatchSpanProcessor(_exporter(name)) for name in exporters]
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


def _exporter(name: str) -> SpanExporter:
    """Load an exporter by the name under which its package registered it."""
    if name == "otlp":
        protocol = _otlp_setting("PROTOCOL") or "http/protobuf"
        name = _OTLP.get(protocol, f"otlp over {protocol}")
    found = list(entry_points(group="opentelemetry_traces_exporter", name=name))
    if not found:
        raise SettingsError(
            f"OTEL_* variables ask for the trace exporter {name!r}, which is not installed: "
            "install eventmesh[otel] for 'console' and 'otlp' over http/protobuf, or the package "
            "of another exporter"
        )
    exporter: Callable[[], SpanExporter] = found[0].load()
    return exporter()
