"""`.ci/audit` tells apart: nothing known, an advisory, and nobody to ask."""

import runpy
from pathlib import Path

import pytest

AUDIT = runpy.run_path(str(Path(__file__).parents[3] / ".ci" / "audit"))

CLEAN = {"name": "orjson", "version": "3.13.0", "vulns": []}
KNOWN = {"name": "aiohttp", "version": "3.13.0", "vulns": [{"id": "CVE-2025-69223"}]}
UNASKED = {"name": "private", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("dependencies", "code", "said"),
    [
        ([CLEAN], 0, "no advisory for 1 packages"),
        ([CLEAN, KNOWN], 1, "aiohttp 3.13.0: CVE-2025-69223"),
        ([KNOWN, UNASKED], 1, "aiohttp 3.13.0: CVE-2025-69223"),
        ([UNASKED], 75, "NOT AUDITED"),
        ([CLEAN, UNASKED], 75, "not audited: private"),
        ([], 75, "NOT AUDITED"),
    ],
)
def test_what_a_report_means(dependencies, code, said):
    found, text = AUDIT["judge"](dependencies)
    assert found == code
    assert said in text
