"""A service: functions, and the resources that they share. Declaring opens nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from inspect import currentframe
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, Unpack, cast, overload

from eventmesh.abc import Callee, Middleware
from eventmesh.engine.binding import compile_signature
from eventmesh.engine.binding.annotations import (
    find_code,
    format_type,
    handler_name,
    inspect_parameters,
    unwrap_handler,
)
from eventmesh.engine.function import Function
from eventmesh.engine.idempotency import check_key_path
from eventmesh.engine.options import (
    DeclaredOptions,
    FunctionOptions,
    read_destination,
    read_options,
)
from eventmesh.engine.resources import Resource, SourceT, read_resource
from eventmesh.engine.runtimes.registry import check_runtime, choose_runtime
from eventmesh.engine.spec import FunctionSpec, Implementation, Trigger
from eventmesh.engine.store import OwnTables, check_isolated
from eventmesh.lambdas.declare import LambdaOptions, build_lambda
from eventmesh.lambdas.function import LambdaFunction, LogFormat
from eventmesh.middleware.payloads import Redact
from eventmesh.model.access.authorizers import Auth, read_auth
from eventmesh.model.access.cors import Cors
from eventmesh.model.access.outgoing import Outgoing, read_calls, read_emits
from eventmesh.model.access.policy import read_policy
from eventmesh.model.errors import DeclarationError
from eventmesh.model.settings import STORES, redacted, scheme_of
from eventmesh.model.topology import check_function, check_service
from eventmesh.plugins import MIDDLEWARE, load_plugin, plugin_names

P = ParamSpec("P")
R = TypeVar("R")

MAX_VERSION: Final = 100
"""Characters of a service's version."""


class Service:
    """A set of functions that is packaged, deployed and scaled as one.

    Its methods raise DeclarationError for what cannot work: at the line that declares it, and not
    when the service runs. So does it itself for an invalid name.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str = "",
        middleware: Sequence[Middleware | str] = (),
        cors: Cors | None = None,
        auth: Auth | None = None,
        calls: Sequence[Callee[..., Any] | str] | None = None,
        emits: Sequence[str] | None = None,
        store: str | Callable[[], str] | None = None,
        tables: OwnTables | None = None,
        redact: Redact | None = None,
    ) -> None:
        """`version` is shown by `eventmesh ps`: "1.4.2", a commit, or other words of your own.

        `middleware` wraps every handler of the service, the first one outermost. A string is the
        name of one that an installed package provides. `cors` says which pages of other origins may
        use its routes; none unless given. `auth` says who may use those of its routes that do not
        say it themselves; everyone unless given.

        `calls` is what its functions may invoke and send to: functions, their names
        "service.function", "service.*", and "queue:NAME". `emits` is the types of events that they
        may emit. `Context` raises AccessDenied for everything else; None leaves it open. The
        permissions of the service's user at RabbitMQ are made of them.

        `store` is the URL of the database that `ctx.transaction()` uses, or a function that returns
        it when the service starts: "sqlite:///FILE" or "postgresql://USER:PASSWORD@HOST/DATABASE".
        Without it, EVENTMESH_STORE says where it is.

        `tables` is SQLAlchemy's MetaData of the service's own tables: those that are missing are
        created when it starts, one process at a time, unless EVENTMESH_STORE_MIGRATE is "never".
        Tables that are there stay as they are.

        `redact` is called with the name of a function and a payload as plain values, and returns
        what may be recorded of it, where payloads are (EVENTMESH_RECORD_PAYLOADS). If it raises,
        nothing is.
        """
        self.name = check_service(name)
        self.version = _check_version(version)
        self.middleware = tuple(map(_read_middleware, middleware))
        self.cors = _check_cors(cors)
        self.auth = read_auth(auth, f"Service({name!r})")
        self.outgoing = _read_outgoing(self.name, calls, emits)
        self._store = _check_store(store)
        self.tables = _check_tables(tables)
        self.redact = redact
        self.functions: dict[str, Implementation] = {}
        self.resources: list[Resource] = []

    def __repr__(self) -> str:
        return f"Service({self.name!r}, {len(self.functions)} functions)"

    def find_store(self) -> str:
        """Return the URL of its own store, "" for none. Raises what the function for it raises."""
        url = self._store() if callable(self._store) else self._store
        return _check_store_url(url, f"the function store= of the service {self.name!r}")

    @property
    def has_store(self) -> bool:
        """Whether its code says where its store is, or how that is found."""
        return bool(self._store)

    @property
    def specs(self) -> list[FunctionSpec]:
        """The declarations of its functions, in the order of their declaration."""
        return [function.spec for function in self.functions.values()]

    @overload
    def function(self, handler: Callable[P, R], /) -> Function[P, R]: ...
    @overload
    def function(
        self, /, *triggers: Trigger, **options: Unpack[FunctionOptions]
    ) -> Callable[[Callable[P, R]], Function[P, R]]: ...
    def function(self, /, *triggers: Any, **options: Unpack[FunctionOptions]) -> Any:
        """Declare a function of this service, fired by `triggers` and by its name.

        The options are explained at `FunctionOptions`: `name`, `timeout`, `concurrency`,
        `reserved_concurrency`, `max_pending`, `max_payload`, `retry`, `on_success`, `on_failure`,
        `access`, `callers`, `idempotency_key` and `runtime`; for one that runs in processes of its
        own `isolation`, `memory`, `instances`, `provisioned`, `idle_timeout` and `max_invocations`.
        Without triggers and options, write `@service.function`.
        """
        decorated, triggers = _without_parentheses(triggers)
        declared = read_options(options)

        def declare(handler: Callable[P, R]) -> Function[P, R]:
            function = self._build(handler, _check_triggers(triggers), declared)
            self.add(function)
            return function

        return declare if decorated is None else declare(decorated)

    def _build(
        self, handler: Callable[P, R], triggers: tuple[Trigger, ...], options: DeclaredOptions
    ) -> Function[P, R]:
        _check_bound(handler)
        signature = compile_signature(
            handler, [resource.kind for resource in self.resources], options.limits.max_nodes
        )
        own_name = _own_name(handler) if options.name is None else options.name
        full_name = check_function(f"{self.name}.{own_name}")
        code = unwrap_handler(handler)
        if options.isolation is not None:
            check_isolated(full_name, code, signature.context)
        spec = FunctionSpec(
            full_name=full_name,
            triggers=triggers,
            limits=options.limits,
            retry=options.retry,
            on_success=read_destination("on_success", options.on_success, full_name),
            on_failure=read_destination("on_failure", options.on_failure, full_name),
            runtime=choose_runtime(
                full_name,
                options.runtime,
                is_async=signature.is_async,
                isolated=options.isolation is not None,
                durable=options.durability is not None,
            ),
            schema=signature,
            description=inspect.getdoc(handler) or "",
            code_name=f"{code.__module__}.{code.__qualname__}",
            cors=self.cors,
            auth=self.auth,
            policy=read_policy(options.access, options.callers, full_name),
            outgoing=self.outgoing,
            isolation=options.isolation,
            durability=options.durability,
            idempotency_key=options.idempotency_key,
            code_place=find_code(code),
        )
        check_key_path(spec)
        return Function(handler, spec, signature, self.resources)

    def lambda_function(
        self,
        name: str,
        *,
        code: str | Path,
        handler: str,
        runtime: str,
        triggers: Sequence[Trigger] = (),
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        log_format: LogFormat = "Text",
        log_level: str | None = None,
        layers: Sequence[str | Path] = (),
        **options: Unpack[LambdaOptions],
    ) -> LambdaFunction:
        """Declare an unmodified AWS Lambda function, which runs in processes of its own.

        `code` is its folder, relative to the file that declares it, and `handler` and `runtime` are
        as on AWS: "app.handler", "python3.11". `runtime` may be "python3.N", "nodejsN.x", or
        "provided" for a program `bootstrap` in the folder; `command` starts anything else that
        speaks the Runtime API. `environment` is variables that it gets, 4 KiB at most. `log_format`
        and `log_level` ("DEBUG", "INFO", "WARN", …) are what its runtime and ours log, as on AWS.
        `layers` are folders like the contents of layers on AWS, with `extensions/`, `python/`, ….

        `options` are those of `function`, with AWS's defaults: `timeout` 3 s, `memory` "128M", and
        of `retry` two more attempts, after one minute and after two. With `durable` it is a durable
        function by AWS's contract, whose code uses AWS's SDK for them.
        """
        caller = currentframe()
        declaring = caller and caller.f_back and caller.f_back.f_globals.get("__file__")
        function = build_lambda(
            f"{self.name}.{name}",
            {
                "code": code,
                "handler": handler,
                "runtime": runtime,
                "command": command,
                "environment": environment,
                "log_format": log_format,
                "log_level": log_level,
                "layers": layers,
            },
            _check_triggers(triggers),
            options,
            base=Path(declaring).parent if declaring else Path(),
            outgoing=self.outgoing,
        )
        self.add(function)
        return function

    def add(self, function: Implementation) -> None:
        """Declare a function that is not a Python callable, and that a runtime of its own runs.

        A package with such a runtime makes an object with a `FunctionSpec`, and adds it here.
        """
        spec = function.spec
        service, _, own_name = check_function(spec.full_name).partition(".")
        if service != self.name:
            raise DeclarationError(
                f"the function {spec.full_name!r} cannot be added to the service {self.name!r}: "
                f"call it '{self.name}.{own_name}', or add it to the service {service!r}"
            )
        if own_name in self.functions:
            raise DeclarationError(
                f"there are two functions {spec.full_name!r}: rename one, or give it another "
                "name with name=…"
            )
        check_runtime(spec.runtime)
        _check_repeated(spec)
        for trigger in spec.triggers:
            trigger.check(spec)
        self.functions[own_name] = function

    def resource(self, source: SourceT) -> SourceT:
        """Declare something that lives as long as the service: a database pool, a client.

        `source` is an async generator function that yields it once, and closes it after that; a
        function or coroutine function that returns it, if there is nothing to close; or a class
        that is an async context manager and returns an object of that class when it is entered. It
        is opened in the event loop before the first invocation, and closed after the last one.

        Functions and resources declared later get it by annotating a parameter with its type.
        """
        resource = read_resource(source, [known.kind for known in self.resources])
        if any(known.kind == resource.kind for known in self.resources):
            raise DeclarationError(
                f"{self.name} has two resources of type {format_type(resource.kind)}: "
                "give one of them a type of its own, so that functions can ask for it"
            )
        self.resources.append(resource)
        return source


def _check_version(version: str) -> str:
    if not isinstance(version, str) or len(version) > MAX_VERSION or not version.isprintable():
        raise DeclarationError(
            f"a service cannot have the version {version!r}: write a text of {MAX_VERSION} "
            "printable characters at most, such as '1.4.2'"
        )
    return version


def _check_cors(given: Any) -> Cors | None:
    if given is None or isinstance(given, Cors):
        return given
    raise DeclarationError(f"cors={given!r} is no Cors: write cors=Cors(origins=[…])")


def _check_tables(given: Any) -> OwnTables | None:
    if given is None or callable(getattr(given, "create_all", None)):
        return cast("OwnTables | None", given)
    raise DeclarationError(
        f"tables={given!r} are no tables: write tables=Base.metadata, SQLAlchemy's MetaData"
    )


def _check_store(given: Any) -> str | Callable[[], str]:
    if callable(given):
        return cast(Callable[[], str], given)
    return _check_store_url(given or "", "Service(store=…)")


def _check_store_url(url: Any, what: str) -> str:
    if not isinstance(url, str) or (url and scheme_of(url) not in STORES):
        shown = redacted(url) if isinstance(url, str) else f"a {type(url).__name__}"
        raise DeclarationError(
            f"{what} is {shown}, which is no URL of a store: write 'sqlite:///FILE' or "
            "'postgresql://USER:PASSWORD@HOST:PORT/DATABASE'"
        )
    return url


def _read_outgoing(
    service: str, calls: Sequence[Any] | None, emits: Sequence[Any] | None
) -> Outgoing | None:
    if calls is None and emits is None:
        return None
    return Outgoing(service, read_calls(service, calls), read_emits(service, emits))


def _read_middleware(given: Any) -> Middleware:
    found = load_plugin(MIDDLEWARE, given) if isinstance(given, str) else given
    if callable(found):
        return cast(Middleware, found)
    if found is None and isinstance(given, str):
        names = ", ".join(plugin_names(MIDDLEWARE)) or "none"
        raise DeclarationError(
            f"no installed package provides the middleware {given!r}: there are {names}; install "
            "the package that provides it"
        )
    raise DeclarationError(
        f"middleware={given!r} is not callable: write a function that takes a handler and returns "
        "another, or the name of one that a package provides"
    )


def _without_parentheses(given: tuple[Any, ...]) -> tuple[Callable[..., Any] | None, Any]:
    """Return the handler, if `function` decorates it without parentheses, and the triggers."""
    if len(given) != 1 or not callable(given[0]) or _is_trigger(given[0]):
        return None, given
    (handler,) = given
    if str(getattr(handler, "__module__", "")).startswith("eventmesh.triggers"):
        raise DeclarationError(
            f"on.{handler.__name__} has no arguments here: write on.{handler.__name__}(…)"
        )
    return handler, ()


def _is_trigger(candidate: Any) -> bool:
    return (
        not isinstance(candidate, type)
        and hasattr(candidate, "kind")
        and hasattr(candidate, "source")
    )


def _check_triggers(triggers: Sequence[Any]) -> tuple[Trigger, ...]:
    for trigger in triggers:
        if not _is_trigger(trigger):
            raise DeclarationError(
                f"{trigger!r} is not a trigger; write one of on.get(…), on.post(…), "
                "on.queue(…), on.event(…), on.every(…), on.cron(…), …"
            )
    return tuple(triggers)


def _check_repeated(function: FunctionSpec) -> None:
    for number, trigger in enumerate(function.triggers):
        if trigger in function.triggers[:number]:
            raise DeclarationError(
                f"{function.full_name}: the trigger {trigger.describe()!r} is listed twice; keep "
                "one of them"
            )


def _check_bound(handler: Callable[..., Any]) -> None:
    if inspect.isfunction(handler) and next(iter(inspect_parameters(handler)), "") == "self":
        raise DeclarationError(
            f"{handler_name(handler)}(self, …) is a method without its object: declare a function, "
            "or the method of an object, with service.function(…)(object.method)"
        )


def _own_name(handler: Callable[..., Any]) -> str:
    name = str(getattr(handler, "__name__", ""))
    if not name.isidentifier():
        raise DeclarationError(f"{handler!r} has no name of its own: give it one with name=…")
    return name
