"""The page on troubleshooting quotes messages that the package writes, word for word."""

import ast
import re

import pytest
from pages import DOCS, ROOT

FOREIGN = {
    "Allow: OPTIONS",  # HTTP
    "Input should be an object",  # pydantic
    "address already in use",  # the operating system
    "certificate verify failed",  # OpenSSL
    "import file mismatch",  # pytest
}
PLACEHOLDER = "\0"


def quoted():
    """The messages in the headings of the page, each cut where it varies."""
    page = (DOCS / "troubleshooting.md").read_text("utf-8")
    headings = re.findall(r"^### (.*)$", page, re.MULTILINE)
    texts = [text for heading in headings for text in heading.split("`")[1::2]]
    pieces = [piece.strip(" :;,().'") for text in texts for piece in text.split("…")]
    return sorted({piece for piece in pieces if " " in piece and "eventmesh " not in piece})


def text_of(node):
    """A string in the code, with a mark in place of each value; None for other nodes."""
    match node:
        case ast.Constant(value=str() as text):
            return re.sub(r"%[-.,\d]*[a-z]", PLACEHOLDER, text)
        case ast.JoinedStr(values=parts):
            return "".join(text_of(part) or PLACEHOLDER for part in parts)
    return None


@pytest.fixture(scope="module")
def written():
    files = (ROOT / "eventmesh").rglob("*.py")
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))]
    return "\n".join(text for node in nodes if (text := text_of(node)))


def test_messages_are_quoted():
    assert len(quoted()) > 10


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_message_is_in_the_code(message, written):
    assert message in FOREIGN or message in written
