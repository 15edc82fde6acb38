"""The code of an isolated function is found again in another process."""

import sys
from types import ModuleType

import pytest

from eventmesh.instances.zygote.loading import find_function, locate
from eventmesh.model.errors import DeclarationError
from eventmesh.service import Service

app = Service("app")


@app.function(isolation="process")
async def work() -> None: ...


def plain() -> None: ...


app.function(isolation="process", name="other")(plain)


class Holder:
    @app.function(isolation="process", name="held")
    @staticmethod
    def held() -> None: ...


@pytest.mark.parametrize("name", ["work", "other", "held"])
def test_it_is_found_by_its_module_and_name(name, monkeypatch):
    function = app.functions[name]
    module, file, qualname = locate(function)
    assert file == __file__
    monkeypatch.setitem(sys.modules, module, sys.modules.get(module) or _this())
    assert find_function(f"app.{name}", module, file, qualname) is function


def _this() -> ModuleType:
    module = ModuleType(__name__)
    vars(module).update(globals())
    return module


def test_one_inside_of_a_function_is_refused():
    inner = Service("inner")

    @inner.function(isolation="process")
    async def hidden() -> None: ...

    with pytest.raises(DeclarationError, match="top level of a module"):
        locate(hidden)


def test_a_program_is_imported_from_its_file(tmp_path, monkeypatch):
    file = tmp_path / "program.py"
    file.write_text(
        "from eventmesh import Service\n"
        "app = Service('program')\n"
        "@app.function(isolation='process')\n"
        "async def work() -> None: ...\n"
        "if __name__ == '__main__': raise SystemExit('it ran')\n"
    )
    monkeypatch.delitem(sys.modules, "__eventmesh_main__", raising=False)
    found = find_function("program.work", "__main__", str(file), "work")
    assert found.full_name == "program.work"
    assert find_function("program.work", "__main__", str(file), "work") is found
    monkeypatch.delitem(sys.modules, "__eventmesh_main__")


def test_what_is_not_there_is_said(monkeypatch):
    module = ModuleType("empty_module")
    monkeypatch.setitem(sys.modules, "empty_module", module)
    with pytest.raises(DeclarationError, match="at the top level of the module"):
        find_function("app.work", "empty_module", "", "work")
