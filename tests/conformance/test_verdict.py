"""Whether a run of the conformance suite is as it is known to be."""

import importlib.util
from pathlib import Path

import pytest

PLACE = Path(__file__).with_name("verdict.py")


@pytest.fixture(scope="module")
def verdicts():
    spec = importlib.util.spec_from_file_location("conformance_verdict", PLACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def judge(verdicts):
    return verdicts.judge


def result(id, status="PASSED", *errors):
    return {"id": id, "status": status, "errors": list(errors)}


def test_what_passes_is_counted(judge):
    verdict = judge("python", [result("1-1"), result("1-2")], {})

    assert verdict.lines == ["python: 2 of 2 requirements passed"]
    assert verdict.is_good


@pytest.mark.parametrize("status", ["FAILED", "OPTIONAL_FAILED", "NOT_IMPLEMENTED", "UNCOVERED"])
def test_whatever_does_not_pass_is_a_failure(judge, status):
    verdict = judge("python", [result("1-1"), result("1-2", status)], {})

    assert verdict.lines[1:] == [f"  1-2 fails: it is {status}"]
    assert not verdict.is_good


def test_a_known_failure_is_explained(judge):
    verdict = judge("python", [result("1-1", "FAILED", "no event")], {"1-1": "AWS says otherwise"})

    assert verdict.lines[1:] == ["  1-1 fails as known: AWS says otherwise"]
    assert verdict.is_good


def test_a_known_failure_that_passes_is_to_be_removed(judge):
    verdict = judge("python", [result("1-1")], {"1-1": "AWS says otherwise"})

    assert verdict.lines[1:] == ["  1-1 passes: remove it from the known failures"]
    assert not verdict.is_good


def test_a_known_failure_that_was_not_run_is_no_matter(judge):
    assert judge("python", [result("1-1")], {"2-1": "AWS says otherwise"}).is_good


def test_in_javascript_only_some_requirements_have_a_handler(judge):
    verdict = judge("javascript", [result("1-1"), result("1-2", "UNCOVERED")], {})

    assert verdict.lines == ["javascript: 1 of 1 requirements passed"]
    assert verdict.is_good


def test_nothing_is_not_good(judge):
    assert not judge("javascript", [result("1-1", "UNCOVERED")], {}).is_good


def test_what_passes_at_the_second_try_is_told(judge, verdicts):
    first = [result("1-1"), result("1-2", "FAILED", "late"), result("1-3", "FAILED", "wrong")]
    again = [result("1-1", "UNCOVERED"), result("1-2"), result("1-3", "FAILED", "wrong")]

    verdict = judge("python", verdicts.replace_results(first, again, ["1-2", "1-3"]), {})

    assert verdict.lines == [
        "python: 2 of 3 requirements passed",
        "  1-2 passed at the second try",
        "  1-3 fails: wrong",
    ]
    assert not verdict.is_good
