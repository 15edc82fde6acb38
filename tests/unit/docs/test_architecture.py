"""The architecture page names files and functions that are there."""

import ast
import re

import pytest
from pages import DOCS, ROOT, prose

PAGE = prose(DOCS / "architecture.md")
PACKAGE = ROOT / "eventmesh"
FILES = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py")}
FOLDERS = {path.rpartition("/")[0] for path in FILES}
SOURCE = "\n".join((ROOT / path).read_text() for path in FILES)
PLANNED = re.findall(r"(?<!\*)\*`([^`]+)`\*", PAGE)
"""In italics: files that a change would add."""

CODE = sorted(set(re.findall(r"`([^`\n]+)`", PAGE)).difference(PLANNED))
PATHS = [code for code in CODE if re.fullmatch(r"[\w./*-]+(\.py|/)", code) or "/" in code]
NAMES = [
    code
    for code in CODE
    if code not in PATHS and re.fullmatch(r"(\w+\.)?\w+( → \w+)?", code) and "." not in code[:1]
]

WALK = PAGE.split("\n## One asynchronous invocation", 1)[1].split("\n## ", 1)[0]
STEPS = re.findall(
    r"^(\d+)\. `([\w/]+\.py)`, `([\w.]+)`(?: in `([\w.]+)`)?:(.*?)(?=^\d+\. |\Z)",
    WALK,
    re.MULTILINE | re.DOTALL,
)
"""Number, file, function, the one around it, and the text of each step of the walk."""

WORDS_A_MINUTE = 220
LINES_A_MINUTE = 25
"""Assumed of somebody who reads a page, and code that they have never seen."""


def known(path):
    """Whether it is a file or folder of ours, of which the beginning may be left out."""
    if (ROOT / path).exists():
        return True
    end = f"/{path.rstrip('/')}"
    return any(one.endswith((end, f"{end}.py")) for one in FILES | FOLDERS)


def test_it_names_many_files_and_functions():
    assert len(PATHS) > 50
    assert len(NAMES) > 50


@pytest.mark.parametrize("path", [path for path in PATHS if " " not in path])
def test_a_path_is_there(path):
    assert known(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_in_the_code(name):
    for word in re.findall(r"\w+", name):
        assert re.search(rf"\b{word}\b", SOURCE), f"{word} is nowhere in the package"


@pytest.mark.parametrize("path", PLANNED)
def test_what_a_change_would_add_is_not_there_yet(path):
    assert not known(path) or path.endswith("/")


def code_of(file, name, around):
    """The lines of a function of the package that are not empty."""
    text = (PACKAGE / file).read_text()
    node = ast.parse(text)
    for part in [*around.split("."), *name.split(".")] if around else name.split("."):
        named = [each for each in ast.walk(node) if getattr(each, "name", "") == part]
        assert named, f"{file} has no {part}"
        node = named[0]
    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
    return [line for line in lines if line.strip()]


def test_the_walk_has_few_steps_in_order():
    assert [int(step[0]) for step in STEPS] == list(range(1, len(STEPS) + 1))
    assert 10 <= len(STEPS) <= 14


@pytest.mark.parametrize(
    ("file", "name", "around", "text"),
    [step[1:] for step in STEPS],
    ids=[f"step {step[0]}" for step in STEPS],
)
def test_a_step_of_the_walk_leads_to_the_next(file, name, around, text):
    code = "\n".join(code_of(file, name, around))
    (handed_over,) = re.findall(r"→\s+`([\w.]+)(?:\(…?\))?`", text)
    assert re.search(rf"(?<![\w.]){re.escape(handed_over)}\b", code), f"no {handed_over} in {name}"


def test_the_walk_is_read_in_ten_minutes():
    lines = sum(len(code_of(file, name, around)) for _, file, name, around, _ in STEPS)
    minutes = len(WALK.split()) / WORDS_A_MINUTE + lines / LINES_A_MINUTE
    assert minutes <= 9.5  # The rest is for opening the files.
