"""The site has all pages, and the reference all public names."""

import pkgutil
import re

import pytest
import yaml
from pages import DOCS, ROOT, links, title

import eventmesh
import eventmesh.ext
import eventmesh.testing

RECORDS = sorted(DOCS.glob("adr/[0-9]*.md"))
DOCUMENTED = [
    name
    for page in DOCS.glob("reference/*.md")
    for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
]


def in_navigation(entry):
    """The paths of a part of the navigation."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [path for part in parts for path in in_navigation(part)]


def test_every_page_is_in_the_navigation_once():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    there = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    assert sorted(in_navigation(settings["nav"])) == sorted(there)


def test_the_index_leads_to_every_page():
    linked = {path for path, _ in links(DOCS / "index.md")}
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if page not in RECORDS}
    there = {page for page in there if not page.startswith("reference/")} | {"reference/index.md"}
    assert linked == there - {"index.md"}


@pytest.mark.parametrize("module", [eventmesh, eventmesh.ext, eventmesh.testing])
def test_every_public_name_is_in_the_reference_once(module):
    for name in module.__all__:
        assert DOCUMENTED.count(f"{module.__name__}.{name}") == 1, name


@pytest.mark.parametrize("name", DOCUMENTED)
def test_what_the_reference_documents_is_there(name):
    assert pkgutil.resolve_name(name) is not None


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_a_record_says_what_its_line_in_the_list_says(record):
    number, _, decision = title(record).partition(": ")
    assert record.name.startswith(f"{number}-")
    listed = f"| [{number}]({record.name}) | {decision} |"
    assert listed in (DOCS / "adr" / "README.md").read_text("utf-8").splitlines()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_a_record_has_its_status_in_its_second_line(record):
    second = record.read_text("utf-8").splitlines()[2]
    assert re.fullmatch(r"(Accepted|Superseded by .+), \d+ \w+ \d{4}(\.|;.+\.)", second)


def test_the_readme_has_no_figure_that_the_page_on_performance_has_not():
    section = (ROOT / "README.md").read_text("utf-8").partition("## How fast")[2]
    figures = re.findall(r"\| (\d[\d,]*) (?=\|)", section.partition("\n## ")[0])
    assert len(figures) > 5
    assert set(figures) <= set(
        re.findall(r"\d[\d,]*", (DOCS / "performance.md").read_text("utf-8"))
    )
