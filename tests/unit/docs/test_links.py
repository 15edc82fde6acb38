"""What the pages and the code refer to is there."""

import re

import pytest
from pages import DOCS, ROOT, anchors, links, name_of, pages

TEXTS = ("*.py", "*.toml", "*.yaml", "*.yml", "Makefile", "Dockerfile", "run")
READ = ("benchmarks", "eventmesh", "examples", "services", "tests", ".ci")
PATH = re.compile(r"(?<![\w./-])docs/[\w/-]+(?:\.md|\.png)?\b")


def texts():
    """The files that name pages by their paths."""
    found = [path for name in TEXTS for path in ROOT.glob(name)]
    found += [path for folder in READ for name in TEXTS for path in (ROOT / folder).rglob(name)]
    return [path for path in found if path.is_file()]


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_lead_somewhere(page):
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{path} is linked, and is not there"
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor} is linked, and is no heading"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=name_of)
def test_links_within_the_site_stay_in_it(page):
    for path, _ in links(page):
        if path:
            target = (page.parent / path).resolve()
            assert target.suffix in (".md", ".png"), f"{path} is linked, and is no page"
            assert target.is_relative_to(DOCS), f"{path} is outside: name it by its path in `…`"


def test_pages_that_code_names_are_there():
    for text in [*texts(), *pages()]:
        for path in PATH.findall(text.read_text("utf-8")):
            there = (ROOT / path).exists() or len([*ROOT.glob(f"{path}-*.md")]) == 1
            assert there, f"{name_of(text)} names {path}, which is not there"
