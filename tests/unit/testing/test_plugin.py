"""The pytest plugin, as other projects use it."""

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

A_TEST = """
    import pytest
    from eventmesh import Service, on

    shop = Service("shop")
    closed = []

    @shop.resource
    class Database:
        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            closed.append("database")

    @shop.function(on.cron("0 3 * * *"))
    async def clean(database: Database) -> None: ...

    MARK
    async def test_in_a_mesh(start_mesh):
        mesh = await start_mesh(shop, stubs={"pricing.quote": 5})
        await mesh.advance("7d")
        assert len(mesh.fired) == 7
        assert await mesh.invoke("pricing.quote") == 5
        assert not closed

    def test_afterwards():
        assert closed == ["database"]
"""


ASYNCIO = ("-o", "asyncio_default_fixture_loop_scope=function", "-W", "error")


@pytest.mark.parametrize(("mode", "mark"), [("auto", ""), ("strict", "@pytest.mark.asyncio")])
def test_start_mesh_works_in_both_modes_of_pytest_asyncio(pytester, mode, mark):
    pytester.makepyfile(A_TEST.replace("MARK", mark))
    result = pytester.runpytest_inprocess("-o", f"asyncio_mode={mode}", *ASYNCIO)
    result.assert_outcomes(passed=2)


def test_start_mesh_works_with_anyio_alone(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"
        """
    )
    pytester.makepyfile(
        without_pytest_asyncio="import sys; sys.modules['pytest_asyncio'] = None",
        test_anyio=A_TEST.replace("MARK", "@pytest.mark.anyio"),
    )
    plugins = ("without_pytest_asyncio", "anyio", "eventmesh.testing.plugin")
    options = [option for plugin in plugins for option in ("-p", plugin)]
    pytester.syspathinsert()
    result = pytester.runpytest_subprocess(*options, "-W", "error")
    result.assert_outcomes(passed=2)


def test_a_failure_that_no_test_expects_is_an_error(pytester):
    pytester.makepyfile(
        """
        from eventmesh import Retry, Service

        shop = Service("shop")

        @shop.function(retry=Retry(1))
        async def work() -> None:
            raise ValueError("no such order")

        async def test_in_a_mesh(start_mesh):
            mesh = await start_mesh(shop)
            await mesh.send(work)
            await mesh.settle()
        """
    )
    result = pytester.runpytest_inprocess("-o", "asyncio_mode=auto", *ASYNCIO)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ValueError: no such order*"])


def test_the_plugin_costs_nothing_where_it_is_not_used():
    program = (
        "import sys, eventmesh.testing.plugin; "
        "print([name for name in sys.modules if name.startswith('eventmesh.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "['eventmesh.testing', 'eventmesh.testing.plugin']"
