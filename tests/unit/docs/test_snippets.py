"""The Python on the pages works as far as it claims to.

Every block compiles. A block whose first line names a file, `# shop.py`, is that file, or its next
part where several blocks of a page name it: it is imported, which checks its declarations, and the
tests in it pass.
"""

import ast
import importlib.util
import re
import sys
from pathlib import Path

import pytest

# Loaded before any test runs another pytest in this process, which forgets what it loaded itself:
# SQLAlchemy warns of a dialect that is loaded twice.
import sqlalchemy.dialects.postgresql
import sqlalchemy.dialects.sqlite  # noqa: F401
from pages import name_of, pages, snippets

from eventmesh import Service

pytest_plugins = ["pytester"]

ELSEWHERE = {
    "aio_pika",
    "aws_durable_execution_sdk_python",
    "boto3",
    "celery",
    "fastapi",
    "faststream",
}
"""Libraries of others that pages show code for: a file that imports one is compiled, no more."""


def files(page):
    """The files that a page shows, with their texts."""
    found = {}
    for snippet in snippets(page):
        if snippet.language == "python" and snippet.file:
            found[snippet.file] = found.get(snippet.file, "") + snippet.text + "\n"
    return {name: text for name, text in found.items() if not imported(text) & ELSEWHERE}


def imported(text):
    """The top-level packages that a module imports."""
    nodes = [*ast.walk(ast.parse(text))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def shown_tests(text):
    return re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE)


def run(folder, name):
    """The module that a file of a folder is, imported anew, as if that were the current one.

    A file of a folder inside is a module of a package, as `eventmesh new` makes them.
    """
    module_name = name.removesuffix(".py").replace("/", ".")
    for known in (module_name, module_name.partition(".")[0]):
        sys.modules.pop(known, None)
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location(module_name, folder / name)
    module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "page", [page for page in pages() if "```python" in page.read_text("utf-8")], ids=name_of
)
def test_every_block_compiles(page):
    for snippet in snippets(page):
        if snippet.language == "python":
            text = "\n" * (snippet.line - 1) + snippet.text
            compile(text, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


@pytest.mark.parametrize("page", [page for page in pages() if files(page)], ids=name_of)
def test_what_is_a_whole_file_runs(page, pytester):
    shown = {name: pytester.path / name for name in files(page)}
    for name, text in files(page).items():
        shown[name].parent.mkdir(parents=True, exist_ok=True)
        if shown[name].parent != pytester.path:
            (shown[name].parent / "__init__.py").touch()
        shown[name].write_text(text, "utf-8")
    for name, text in files(page).items():
        module = run(pytester.path, name)
        services = [one for one in vars(module).values() if isinstance(one, Service)]
        assert services or "Service(" not in text, f"{name} declares a service that is lost"
    for name, text in files(page).items():
        if shown_tests(text):
            check(pytester, Path(name), len(shown_tests(text)))


def check(pytester, file, count):
    """Its tests pass, and there are as many as it shows, or more with their parameters."""
    result = pytester.runpytest_inprocess(
        file,
        *("-o", "asyncio_mode=auto"),
        *("-o", "asyncio_default_fixture_loop_scope=function"),
        *("-W", "error"),
    )
    outcomes = result.parseoutcomes()
    assert outcomes.keys() == {"passed"}
    assert outcomes["passed"] >= count
