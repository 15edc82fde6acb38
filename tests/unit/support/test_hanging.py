"""A test that hangs fails by itself, and the next one runs."""

import sys

import pytest

pytest_plugins = ["pytester"]

HANGS = """
import asyncio

async def waits_for_what_never_comes():
    await asyncio.get_running_loop().create_future()

def {name}():
    asyncio.run(waits_for_what_never_comes())

def test_the_next():
    pass
"""


@pytest.fixture
def ended(pytester, request):
    """Run tests with the plug-in; return how they ended."""

    def run(text):
        pytester.makepyfile(text)
        pytester.makeini("[pytest]\nfaulthandler_timeout = 1")
        support = request.config.rootpath / "tests/support"
        program = f"import sys; sys.path.insert(0, {str(support)!r}); import pytest; pytest.main()"
        return pytester.run(
            sys.executable, "-c", program, "-p", "hanging", "-p", "no:asyncio", timeout=60
        )

    return run


def test_a_test_that_hangs_fails_with_the_stacks_of_its_tasks(ended):
    result = ended(HANGS.format(name="test_hangs"))
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*in waits_for_what_never_comes*"])


def test_a_set_up_that_hangs_is_an_error_of_its_test(ended):
    result = ended(HANGS.format(name="setup_function"))
    result.assert_outcomes(errors=1)
