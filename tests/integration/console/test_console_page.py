"""The files of the console's page: small, whole, and free of what loads or runs something else."""

import gzip
import hashlib
import re

import pytest
from fake_console import PAGE

MAX_COMPRESSED = 150_000
FILES = sorted(file for file in PAGE.rglob("*") if file.is_file())
OWN = [file for file in FILES if "vendor" not in file.parts]
VENDORED = [file for file in FILES if file.parent == PAGE / "vendor" and file.suffix != ".md"]
ROW = re.compile(r"^\| `([\w.-]+)` \|.*\| `([0-9a-f]{64})` \|$", re.MULTILINE)


def test_all_of_it_is_small():
    sent = [file for file in FILES if file.suffix in (".html", ".js", ".css", ".svg")]
    assert sum(len(gzip.compress(file.read_bytes())) for file in sent) < MAX_COMPRESSED


def test_libraries_are_those_of_the_table():
    table = dict(ROW.findall((PAGE / "vendor" / "README.md").read_text()))
    assert table == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in VENDORED}


@pytest.mark.parametrize("file", OWN, ids=lambda file: str(file.relative_to(PAGE)))
def test_own_files_make_no_html_of_texts_and_name_no_other_place(file):
    text = file.read_text()
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function"
    assert re.findall(forbidden, text) == []
    namespaces = ["http://www.w3.org/2000/svg"]
    assert [url for url in re.findall(r"https?://[^\s\"'`]+", text) if url not in namespaces] == []


@pytest.mark.parametrize("file", OWN, ids=lambda file: str(file.relative_to(PAGE)))
def test_own_files_are_short(file):
    assert len(file.read_text().splitlines()) < 400
