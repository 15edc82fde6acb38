"""Figures that tests have measured: a section of the report, whichever process measured them."""

import pytest

FIGURE = "figure"


@pytest.fixture
def record_figure(request):
    """Record a line with figures for the report, also of a test that passes."""
    return lambda text: request.node.user_properties.append((FIGURE, text))


def pytest_terminal_summary(terminalreporter):
    lines = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, value in report.user_properties
        if name == FIGURE
    ]
    if lines:
        terminalreporter.section("figures")
    for line in lines:
        terminalreporter.write_line(line)
