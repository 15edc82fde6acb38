"""What docs/testing.md shows works: its blocks are one test module."""

import re
from pathlib import Path

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"


def test_the_tests_on_the_page_pass(pytester):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    pytester.makepyfile("\n".join(blocks))
    result = pytester.runpytest_inprocess(
        *("-o", "asyncio_mode=auto"),
        *("-o", "asyncio_default_fixture_loop_scope=function"),
        *("-W", "error"),
    )
    result.assert_outcomes(passed=6)
