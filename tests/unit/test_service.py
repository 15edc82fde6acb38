"""Declaring functions: what is declared, and what is refused at the line that says it."""

import functools
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import pytest
from pydantic import BaseModel

from eventmesh.engine.function import Function
from eventmesh.model.errors import DeclarationError
from eventmesh.model.limits import Limits
from eventmesh.model.retry import Retry
from eventmesh.model.topology import EVENTS, Route, inbox
from eventmesh.service import Service
from eventmesh.triggers import on


class Order(BaseModel):
    item: str


@pytest.fixture
def app():
    return Service("app")


async def handler(order: Order) -> None:
    """Places an order."""


class TestVersions:
    """What a service says of itself."""

    def test_there_need_be_none(self, app):
        assert app.version == ""
        assert Service("app", version="1.4.2").version == "1.4.2"

    @pytest.mark.parametrize("version", ["two\nlines", "x" * 101, 2, None])
    def test_what_cannot_be_one(self, version):
        with pytest.raises(DeclarationError, match="cannot have the version"):
            Service("app", version=version)


class TestNames:
    """What a function is called."""

    def test_it_is_its_own_name_in_its_service(self, app):
        assert app.function(handler).full_name == "app.handler"
        assert list(app.functions) == ["handler"]

    def test_it_may_be_another(self, app):
        assert app.function(name="place")(handler).full_name == "app.place"

    def test_one_handler_may_be_several_functions(self, app):
        first = app.function(name="first")(handler)
        second = app.function(name="second")(first)
        third = Service("other").function(second)
        names = [one.full_name for one in (first, second, third)]
        assert names == ["app.first", "app.second", "other.handler"]

    def test_two_functions_have_two_names(self, app):
        app.function(handler)
        with pytest.raises(DeclarationError, match=r"two functions 'app.handler': rename one"):
            app.function(handler)

    @pytest.mark.parametrize("name", ["", "a b", "a.b", "ä", "a-b", "x" * 101, 3])
    def test_what_no_function_can_be_called_is_refused(self, app, name):
        with pytest.raises(DeclarationError, match="is not a function name"):
            app.function(name=name)(handler)

    def test_a_lambda_needs_a_name(self, app):
        with pytest.raises(DeclarationError, match=r"give it one with name=…"):
            app.function(lambda: 1)
        assert app.function(name="one")(lambda: 1).full_name == "app.one"

    @pytest.mark.parametrize("name", ["", "a.b", "1st", "ä", "x" * 64])
    def test_what_no_service_can_be_called_is_refused(self, name):
        with pytest.raises(DeclarationError, match="a service cannot be called"):
            Service(name)


class Counter:
    """A handler with a state."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, by: int = 1) -> int:
        """Counts."""
        self.count += by
        return self.count

    def reset(self) -> None:
        self.count = 0


class TestHandlers:
    """What can be a handler."""

    def test_with_and_without_parentheses(self, app):
        bare = app.function(handler)
        called = app.function(name="other")(handler)
        assert isinstance(bare, Function)
        assert bare.spec.limits == called.spec.limits == Limits()
        assert bare.spec.triggers == called.spec.triggers == ()

    def test_options_count_also_without_a_decorator(self, app):
        assert app.function(handler, timeout=5).spec.limits.timeout == 5

    def test_an_object_with_a_call_of_its_own(self, app):
        counter = app.function(name="count")(Counter())
        assert counter.__doc__ == Counter.__doc__
        assert counter.signature.is_async
        with pytest.raises(DeclarationError, match="has no name of its own"):
            app.function(Counter())

    def test_a_method_of_an_object(self, app):
        assert app.function(Counter().reset).full_name == "app.reset"

    def test_a_method_without_its_object_is_refused(self, app):
        with pytest.raises(DeclarationError, match="a method without its object"):

            class Orders:
                @app.function(on.post("/orders"))
                async def place(self, order: Order) -> None: ...

    @pytest.mark.parametrize(
        "handler", [functools.partial(handler), Order, Counter], ids=["partial", "model", "class"]
    )
    def test_what_has_no_signature_of_its_own_is_refused(self, app, handler):
        with pytest.raises(DeclarationError, match="write a function that calls it"):
            app.function(handler)
        with pytest.raises(DeclarationError, match="write a function that calls it"):
            app.function(name="x")(handler)

    @pytest.mark.parametrize("handler", ["orders.placed", 3, None])
    def test_what_cannot_be_called_is_refused(self, app, handler):
        with pytest.raises(DeclarationError):
            app.function(name="x")(handler)

    def test_a_handler_that_is_refused_leaves_nothing_behind(self, app):
        with pytest.raises(DeclarationError):

            @app.function
            async def odd(value: Counter) -> None: ...

        assert app.functions == {}


class TestOptions:
    """Limits, retries and destinations."""

    def test_the_defaults(self, app):
        function = app.function(handler)
        assert function.spec.limits == Limits(30.0, 100, None, 100, 6 * 1024 * 1024)
        assert (function.spec.retry.attempts, function.spec.retry.max_age) == (3, 6 * 3600)
        assert (function.spec.on_success, function.spec.on_failure) == (None, None)

    @pytest.mark.parametrize(
        ("timeout", "seconds"),
        [(5, 5.0), ("500ms", 0.5), (timedelta(minutes=2), 120.0), (None, None)],
    )
    def test_a_timeout_is_a_duration_or_none(self, app, timeout, seconds):
        assert app.function(timeout=timeout)(handler).spec.limits.timeout == seconds

    def test_max_pending_is_as_large_as_concurrency_unless_given(self, app):
        assert app.function(name="a", concurrency=7)(handler).spec.limits.max_pending == 7
        assert (
            app.function(name="b", concurrency=7, max_pending=0)(handler).spec.limits.max_pending
            == 0
        )

    @pytest.mark.parametrize(
        "option",
        [
            {"timeout": 0},
            {"timeout": -1},
            {"timeout": "soon"},
            {"concurrency": 0},
            {"concurrency": "10"},
            {"concurrency": True},
            {"reserved_concurrency": 0},
            {"max_pending": -1},
            {"max_payload": 0},
            {"max_payload": "6MB"},
            {"retry": 3},
            {"retry": None},
        ],
        ids=repr,
    )
    def test_a_value_that_makes_no_sense_is_refused_and_named(self, app, option):
        (name,) = option
        with pytest.raises(DeclarationError, match=name):
            app.function(**option)(handler)

    @pytest.mark.parametrize(
        ("option", "advice"),
        [
            ("retries", "did you mean 'retry'"),
            ("time_out", "did you mean 'timeout'"),
            ("concurency", "did you mean 'concurrency'"),
            ("colour", "there are name, timeout, concurrency, reserved_concurrency, max_pending"),
        ],
    )
    def test_an_unknown_option_is_refused_with_the_nearest_known(self, app, option, advice):
        with pytest.raises(DeclarationError, match=f"has no option '{option}': {advice}"):
            app.function(**{option: 3})

    def test_a_timeout_longer_than_any_retry_is_refused(self, app):
        with pytest.raises(DeclarationError, match="raise Retry"):
            app.function(timeout=60, retry=Retry(max_age=30))
        assert (
            app.function(timeout=60, retry=Retry(1, max_age=30))(handler).spec.limits.timeout == 60
        )

    @pytest.mark.parametrize("option", ["on_success", "on_failure"])
    def test_destinations(self, app, option):
        def routed(name, target):
            return getattr(app.function(name=name, **{option: target})(handler).spec, option)

        other = Service("other").function(handler)
        to_other = Route("", inbox("other.handler").name, name="other.handler")
        assert routed("a", other) == routed("b", "other.handler") == to_other
        assert routed("c", "queue:outcomes") == Route("", "outcomes", name="outcomes")
        assert routed("d", "event:a.b") == Route(EVENTS, "a.b", mandatory=False, name="a.b")

    @pytest.mark.parametrize("option", ["on_success", "on_failure"])
    @pytest.mark.parametrize(
        ("target", "advice"),
        [
            ("nowhere", "is not a function name"),
            ("queue:", "a queue cannot be called"),
            ("event:a b", "an event cannot have the type"),
            (3, "is not a destination"),
            (handler, "is not a destination"),
            ("app.handler", "names the function itself"),
        ],
    )
    def test_a_destination_that_cannot_be_is_refused(self, app, option, target, advice):
        with pytest.raises(DeclarationError, match=advice):
            app.function(**{option: target})(handler)


@dataclass
class Unhashable:
    """A trigger of somebody else's, as plain as one can be."""

    kind: ClassVar[str] = "unhashable"
    name: str = "x"

    def describe(self) -> str:
        return self.name

    def check(self, function) -> None:
        if self.name == "refused":
            raise DeclarationError(f"{function.full_name} cannot have this")

    @classmethod
    def source(cls, bound, runtime):
        raise AssertionError("never opened")


class TestTriggers:
    """What fires a function, as data beside it."""

    def test_triggers_are_kept_in_their_order(self, app):
        triggers = (on.post("/orders"), on.queue("orders"), on.event("order.*"), on.every(5))
        assert app.function(*triggers)(handler_of_anything).spec.triggers == triggers

    def test_the_same_trigger_stands_once(self, app):
        with pytest.raises(DeclarationError, match=r"the trigger 'POST /orders' is listed twice"):
            app.function(on.post("/orders"), on.event("a"), on.post("/orders"))(handler)
        with pytest.raises(DeclarationError, match="is listed twice"):
            app.function(Unhashable(), Unhashable())(handler)

    def test_a_trigger_may_be_anybodys(self, app):
        assert app.function(Unhashable())(handler).spec.triggers == (Unhashable(),)

    def test_a_trigger_may_refuse_a_function(self, app):
        with pytest.raises(DeclarationError, match=r"app.handler cannot have this"):
            app.function(Unhashable("refused"))(handler)
        assert app.functions == {}

    @pytest.mark.parametrize("one", ["orders.placed", 3, Unhashable, ["a"]], ids=repr)
    def test_what_is_no_trigger_is_refused(self, app, one):
        with pytest.raises(DeclarationError):
            app.function(one, on.post("/orders"))(handler)
        with pytest.raises(DeclarationError):
            app.function(one)(handler)

    def test_a_trigger_without_its_arguments_is_refused(self, app):
        with pytest.raises(DeclarationError, match=r"write on.post\(…\)"):
            app.function(on.post)

    def test_a_route_whose_names_are_no_parameters_is_refused(self, app):
        with pytest.raises(DeclarationError):
            app.function(on.get("/orders/{order_id}"))(handler)


async def handler_of_anything(payload: dict | None = None) -> None: ...


def test_a_service_says_what_it_is(app):
    app.function(handler)
    assert repr(app) == "Service('app', 1 functions)"


class TestMiddleware:
    def test_one_of_a_package_is_found_by_its_name(self, install):
        source = "def first(handler): return handler"
        install("some_middleware", source, "eventmesh.middleware: first = some_middleware:first")

        def second(handler):
            return handler

        first, own = Service("app", middleware=["first", second]).middleware
        assert first.__module__ == "some_middleware"
        assert own is second

    @pytest.mark.parametrize(
        ("middleware", "advice"),
        [("frist", "'frist': there are none; install"), (3, "middleware=3 is not callable: write")],
    )
    def test_what_is_none_is_refused(self, middleware, advice):
        with pytest.raises(DeclarationError, match=advice):
            Service("app", middleware=[middleware])
