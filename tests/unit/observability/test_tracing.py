"""The SDK is set up for the whole process and only once, so each case is a process of its own."""

import asyncio
import sys

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PROGRAM = """
import logging, sys
from opentelemetry import trace
from eventmesh.model.errors import SettingsError
from eventmesh.observability.tracing import export_traces

logging.basicConfig()
try:
    with export_traces("orders") as exporting:
        with trace.get_tracer("test").start_as_current_span("a span"):
            print("exporting" if exporting else "nothing", flush=True)
except SettingsError as error:
    sys.exit(str(error))
"""


async def run(*before, **environ):
    """What the program writes when run in that environment: standard output, then error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "\n".join([*before, PROGRAM])),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return output.decode(), errors.decode()


@pytest.fixture
async def collector():
    """A collector of traces: its address, and the requests it has got."""
    requests = []

    async def take(request):
        requests.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(content_type="application/x-protobuf")

    application = web.Application()
    application.router.add_post("/v1/traces", take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    yield f"http://{host}:{port}", requests
    await runner.cleanup()


def service_and_spans(requests):
    (request,) = requests
    (resource,) = request.resource_spans
    attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
    spans = [span.name for scope in resource.scope_spans for span in scope.spans]
    return attributes["service.name"], spans


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "console"},
    ],
)
async def test_nothing_is_set_up_unless_it_is_asked_for(environ):
    assert await run(**environ) == ("nothing\n", "")


async def test_spans_go_to_the_collector_before_the_program_ends(collector):
    url, requests = collector
    output, errors = await run(OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert (output, errors) == ("exporting\n", "")
    assert service_and_spans(requests) == ("orders", ["a span"])


async def test_the_environments_own_name_of_the_service_goes_first(collector):
    url, requests = collector
    await run(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{url}/v1/traces", OTEL_SERVICE_NAME="shop")
    assert service_and_spans(requests) == ("shop", ["a span"])


async def test_the_console_exporter():
    output, _ = await run(OTEL_TRACES_EXPORTER="console")
    assert output.startswith("exporting\n")
    assert '"name": "a span"' in output


async def test_a_provider_that_is_there_already_stays():
    mine = "from opentelemetry.sdk.trace import TracerProvider; from opentelemetry import trace"
    setting = "trace.set_tracer_provider(TracerProvider())"
    output, errors = await run(mine, setting, OTEL_TRACES_EXPORTER="console")
    assert (output, errors) == ("nothing\n", "")


async def test_without_the_sdk_there_is_a_warning_and_no_more():
    hidden = "import sys; sys.modules['opentelemetry.sdk'] = None"
    output, errors = await run(hidden, OTEL_TRACES_EXPORTER="otlp")
    assert output == "nothing\n"
    assert "install eventmesh[otel]" in errors


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "'zipkin'"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "'otlp over http/json'",
        ),
    ],
)
async def test_an_exporter_that_is_not_installed_is_a_clear_error(environ, name):
    output, errors = await run(**environ)
    assert output == ""
    assert f"ask for the trace exporter {name}, which is not installed" in errors
