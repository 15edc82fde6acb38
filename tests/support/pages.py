"""The Markdown files of the repository, and what the tests ask of them."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_NAME = re.compile(r"^# ([\w./-]+)\n")


@dataclass(frozen=True)
class Snippet:
    """A code block: its language, its text, and the line of the page on which it begins."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str:
        """What the first line names as the file that this is a part of, or ""."""
        named = _NAME.match(self.text)
        return named[1] if named else ""


def pages():
    """All pages: of the site, and those that are read in the repository."""
    folders = [DOCS, *(ROOT / name for name in ("benchmarks", "examples", "services"))]
    return sorted(
        [*ROOT.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))]
    )


def name_of(page):
    """The path from the root, which names a test."""
    return str(page.relative_to(ROOT))


def snippets(page):
    """The code blocks of a page, in order."""
    text = page.read_text("utf-8")
    return [
        Snippet(found[2], textwrap.dedent(found[3]), text.count("\n", 0, found.start()) + 2)
        for found in _FENCE.finditer(text)
    ]


def links(page):
    """The targets of a page's links within the repository: path and anchor."""
    text = re.sub(r"`[^`\n]+`", "", prose(page))
    targets = [target for target in _LINK.findall(text) if "://" not in target]
    return [(path, anchor) for path, _, anchor in (one.partition("#") for one in targets)]


def anchors(page):
    """The anchors of a page's headings, as repositories show Markdown."""
    found = []
    for heading in _HEADING.findall(prose(page)):
        text = _LINK.sub(lambda link: link[0][1 : link[0].index("]")], heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        repeated = found.count(slug)
        found.append(f"{slug}-{repeated}" if repeated else slug)
    return found


def title(page):
    """The first heading of a page."""
    return _HEADING.findall(prose(page))[0]


def prose(page):
    """The text of a page without its code blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))
