"""Which runtime runs a function."""

import pytest

from eventmesh.engine.runtimes.inline import InlineRuntime
from eventmesh.engine.runtimes.registry import load_runtime
from eventmesh.engine.runtimes.thread import ThreadRuntime
from eventmesh.model.errors import DeclarationError
from eventmesh.service import Service


@pytest.fixture
def app():
    return Service("app")


async def wait() -> None: ...


async def count():
    yield 1


def block() -> None: ...


def rows():
    yield 1


class Counter:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("handler", "runtime"),
    [
        (wait, "inline"),
        (count, "inline"),
        (Counter(), "inline"),
        (block, "thread"),
        (rows, "thread"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
@pytest.mark.parametrize("named", [False, True], ids=["chosen", "named"])
def test_coroutines_run_in_the_event_loop_and_others_in_threads(app, handler, runtime, named):
    options = {"runtime": runtime} if named else {}
    assert app.function(name="f", **options)(handler).spec.runtime == runtime


@pytest.mark.parametrize(("handler", "runtime"), [(wait, "thread"), (block, "inline")])
def test_a_runtime_that_cannot_run_the_handler_is_refused(app, handler, runtime):
    with pytest.raises(DeclarationError, match=rf"app\.\w+: runtime='{runtime}' cannot run it"):
        app.function(runtime=runtime)(handler)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("inlin", "did you mean 'inline'"),
        ("container", "there are durable, inline, lambda, process, thread"),
        (7, "there are"),
    ],
)
def test_a_runtime_that_nothing_provides_is_refused(app, name, advice):
    with pytest.raises(DeclarationError, match=advice):
        app.function(runtime=name)(wait)
    with pytest.raises(DeclarationError, match=advice):
        load_runtime(name)


def test_the_runtimes_that_are_built_in():
    assert isinstance(load_runtime("inline"), InlineRuntime)
    assert isinstance(load_runtime("thread"), ThreadRuntime)


def test_one_of_another_package_is_imported_when_it_is_needed(app, install):
    install(
        "spare_runtime",
        "raise ImportError('later')",
        "eventmesh.runtimes: spare = spare_runtime:Spare",
    )
    assert app.function(runtime="spare")(wait).spec.runtime == "spare"
    assert app.function(name="other", runtime="spare")(block).spec.runtime == "spare"
    with pytest.raises(DeclarationError, match=r"cannot be loaded from .*later.*uninstall"):
        load_runtime("spare")


def test_two_packages_that_provide_it_are_one_too_many(app, install):
    for package in ("first", "second"):
        install(package, "", f"eventmesh.runtimes: spare = {package}:Spare")
    app.function(runtime="spare")(wait)
    with pytest.raises(DeclarationError, match="several installed packages"):
        load_runtime("spare")
