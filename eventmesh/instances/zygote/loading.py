"""Finds the code of an isolated function in another process than the one that declared it."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any, Final, cast

from eventmesh.engine.function import AnyFunction, Function
from eventmesh.model.errors import DeclarationError

MAIN: Final = "__main__"
_OTHER_MAIN: Final = "__eventmesh_main__"
"""The name of a program's own file where another process imports it, so that the code below its
`if __name__ == "__main__"` does not run."""


def locate(function: AnyFunction) -> tuple[str, str, str]:
    """Return the module, its file and the qualified name of a function's handler.

    Raises DeclarationError for one that another process cannot import.
    """
    code: Any = function.handler
    module, qualname = str(code.__module__), str(code.__qualname__)
    if "<locals>" in qualname or "<lambda>" in qualname:
        raise DeclarationError(
            f"{function.full_name} is defined inside of {qualname.partition('.<locals>')[0]}(): an "
            "isolated function is imported by another process; define it at the top level of a "
            "module"
        )
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    if module == MAIN and not file:
        raise DeclarationError(
            f"{function.full_name} was typed in at a prompt: an isolated function is imported by "
            "another process; write it into a module"
        )
    return module, str(file), qualname


def find_function(full_name: str, module: str, file: str, qualname: str) -> AnyFunction:
    """Import the module and return the declared function.

    Raises DeclarationError if it is not there, and what importing raises.
    """
    imported = _import_file(file) if module == MAIN else import_module(module)
    found = _follow(imported, qualname)
    if isinstance(found, Function) and found.full_name == full_name:
        return cast(AnyFunction, found)
    own_name = full_name.partition(".")[2]
    for each in vars(imported).values():
        functions: object = getattr(each, "functions", None)  # Of a service.
        if isinstance(functions, dict):
            declared = cast(dict[str, object], functions).get(own_name)
            if isinstance(declared, Function) and declared.full_name == full_name:
                return cast(AnyFunction, declared)
    raise DeclarationError(
        f"{full_name} is not in the module {module!r} where another process imports it: declare it "
        "at the top level of the module, and not in a function that is called later"
    )


def _follow(module: ModuleType, qualname: str) -> Any:
    found: Any = module
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def _import_file(file: str) -> ModuleType:
    loaded = sys.modules.get(_OTHER_MAIN)
    if loaded is not None:
        return loaded
    spec = spec_from_file_location(_OTHER_MAIN, file)
    if spec is None or spec.loader is None:
        raise DeclarationError(
            f"{file} cannot be imported as Python: put the functions into a module"
        )
    module = module_from_spec(spec)
    sys.modules[_OTHER_MAIN] = module
    spec.loader.exec_module(module)
    return module
