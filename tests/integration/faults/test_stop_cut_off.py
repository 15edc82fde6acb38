"""A process is told to stop while the network swallows all that it sends."""

import signal

import pytest
from launching import clean_environment, launched
from tcp_proxy import proxying

SERVICE = """\
from eventmesh import Service, on

app = Service("cutoff")

@app.function(reserved_concurrency=1)
async def guarded() -> None: ...

@app.function(on.queue("cutoff.numbers", batch=10, batch_window=0.2))
async def pack(numbers: list[int]) -> None: ...

@app.function(on.event("cutoff.*"))
async def witness(number: int) -> None: ...

@app.function(on.event("cutoff.*", broadcast=True))
async def hear(number: int) -> None: ...

@app.function(on.every("1h"))
async def tick() -> None: ...
"""


@pytest.fixture
async def run(rabbitmq, tmp_path):
    """The service, and the link between it and RabbitMQ."""
    (tmp_path / "cutoff.py").write_text(SERVICE)
    url = await rabbitmq.new_virtual_host()
    async with proxying(url) as link:
        environment = clean_environment() | {
            "EVENTMESH_BROKER": link.url(url),
            "EVENTMESH_GRACE": "20",
            "EVENTMESH_HTTP_PORT": "0",
            "EVENTMESH_ADMIN_PORT": "0",
        }
        async with launched("run", "cutoff", cwd=tmp_path, environment=environment) as run:
            await run.line("is ready")
            yield run, link


async def test_a_process_that_is_cut_off_stops_by_itself_and_is_not_killed(run):
    process, link = run
    link.stall()
    process.kill(signal.SIGTERM)
    code = await process.code()
    log = "\n".join(process.lines)
    assert code == 0, log
    assert '"message":"stopped","worker":1' in log
