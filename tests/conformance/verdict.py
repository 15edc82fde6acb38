"""What is made of a report: what passed, and whether it is as it is known to be."""

from dataclasses import dataclass

KNOWN_FAILURES: dict[str, dict[str, str]] = {"python": {}, "javascript": {}}
"""The requirements that are not met, by the language of the handlers, each with the reason."""


@dataclass(frozen=True)
class Verdict:
    """What is printed, and whether nothing is other than it is known to be."""

    lines: list[str]
    is_good: bool


def replace_results(results, again, ids):
    """Return results in which those of these ids are what they were when they were tried again."""
    later = {each["id"]: each | {"again": True} for each in again if each["id"] in ids}
    return [later.get(each["id"], each) for each in results]


def judge(language, results, known=None):
    """Judge the results of a report. Each requirement must have a handler in Python.

    Bad is a failure that is not known, and a known one that is none any more.
    """
    known = KNOWN_FAILURES[language] if known is None else known
    covered = [each for each in results if language == "python" or each["status"] != "UNCOVERED"]
    failed = {each["id"]: each for each in covered if each["status"] != "PASSED"}
    passed = {each["id"] for each in covered} - failed.keys()
    expected, new = sorted(failed.keys() & known.keys()), sorted(failed.keys() - known.keys())
    mended = sorted(passed & known.keys())
    lines = [
        f"{language}: {len(passed)} of {len(covered)} requirements passed",
        *(f"  {each['id']} passed at the second try" for each in covered if _is_late(each)),
        *(f"  {id} fails as known: {known[id]}" for id in expected),
        *(f"  {id} fails: {_explain(failed[id])}" for id in new),
        *(f"  {id} passes: remove it from the known failures" for id in mended),
    ]
    return Verdict(lines, bool(covered) and not new and not mended)


def _is_late(result):
    return result["status"] == "PASSED" and result.get("again", False)


def _explain(result):
    return "; ".join(result["errors"]) or f"it is {result['status']}"
