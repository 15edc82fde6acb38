"""The architecture page names files and functions that are there."""

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
