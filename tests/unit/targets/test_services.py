import pytest

from eventmesh.model.errors import DeclarationError, SettingsError
from eventmesh.targets.parse import read_target
from eventmesh.targets.services import load_services
from eventmesh.targets.source_location import find_user_line

SERVICE = """
from eventmesh import Service

{0} = Service("{0}")
"""


def load(*targets):
    return load_services([read_target(target) for target in targets])


def names(*targets):
    return [service.name for service in load(*targets)]


def test_a_file(write):
    write("app.py", SERVICE.format("orders"))
    assert names("app.py") == ["orders"]


def test_all_services_of_a_file_in_their_order(write):
    write("app.py", SERVICE.format("orders") + SERVICE.format("billing"))
    assert names("app.py") == ["orders", "billing"]
    assert names("app.py:billing") == ["billing"]


def test_a_module_with_its_relative_imports(write):
    write("shop/__init__.py", "")
    write("shop/names.py", "NAME = 'orders'")
    write(
        "shop/orders.py",
        "from eventmesh import Service\nfrom .names import NAME\nservice = Service(NAME)",
    )
    assert names("shop.orders") == ["orders"]
    assert names("shop/orders.py") == ["orders"]


def test_a_file_imports_what_lies_beside_it(write):
    write("orders/names.py", "NAME = 'orders'")
    write("orders/app.py", "from eventmesh import Service\nimport names\ns = Service(names.NAME)")
    assert names("orders") == ["orders"]


def test_each_service_has_the_modules_beside_it(write):
    for name in ("orders", "billing"):
        write(f"{name}/names/__init__.py", "from names.words import NAME")
        write(f"{name}/names/words.py", f"NAME = '{name}'")
        write(
            f"{name}/app.py", "from eventmesh import Service\nimport names\ns = Service(names.NAME)"
        )
    assert names("orders", "billing") == ["orders", "billing"]


def test_files_of_one_folder_share_its_modules(write):
    write("shared.py", SERVICE.format("orders"))
    write("one.py", "from shared import orders")
    write("two.py", "from shared import orders\nfrom one import orders as same")
    assert names("one.py", "two.py", "shared.py") == ["orders"]


def test_an_imported_service_counts(write):
    write("orders.py", SERVICE.format("orders"))
    write("billing.py", SERVICE.format("billing"))
    write("app.py", "from orders import orders\nfrom billing import billing")
    assert names("app.py") == ["orders", "billing"]


def test_a_service_is_meant_once_whatever_it_is_called(write):
    write("app.py", SERVICE.format("orders") + "again = orders")
    assert names("app.py", ".", "app", "app.py:again") == ["orders"]


def test_two_services_of_one_name_are_two(write):
    write("one/app.py", SERVICE.format("orders"))
    write("two/app.py", SERVICE.format("orders"))
    assert names("one", "two") == ["orders", "orders"]


def test_no_service(write):
    write("app.py", "orders = 'orders'")
    with pytest.raises(SettingsError, match=r"there is no service in app.py: write 'service = Ser"):
        load("app.py")


def test_no_service_of_that_name(write):
    write("app.py", SERVICE.format("orders") + "word = 'orders'")
    for name in ("nothing", "word"):
        with pytest.raises(SettingsError, match=f"no service '{name}' in app.py: it has orders"):
            load(f"app.py:{name}")


def test_no_such_module(project):
    with pytest.raises(SettingsError, match="there is no 'nowhere' here: a target is a file"):
        load("nowhere")


def test_a_file_called_as_another_module(write):
    write("json.py", SERVICE.format("orders"))
    with pytest.raises(SettingsError, match=r"another module is called 'json' already.*rename"):
        load("json.py")


@pytest.mark.parametrize(
    ("code", "message", "line", "source"),
    [
        ("x = 1\norder = plcae", "NameError: name 'plcae' is not defined", 2, "order = plcae"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named", 1, "import nowhere"),
        ("def f(:\n    pass", "SyntaxError: invalid syntax", 1, "def f(:"),
        ("if 1:\nx = 1", "IndentationError: expected an indented block", 2, "x = 1"),
        ("import sys\n\nsys.exit(3)", "SystemExit: 3", 3, "sys.exit(3)"),
        ("assert False", "AssertionError", 1, "assert False"),
        ("import json\njson.loads('{')", "JSONDecodeError: ", 2, "json.loads('{')"),
    ],
)
def test_an_import_that_fails(write, code, message, line, source):
    write("app.py", code)
    with pytest.raises(SettingsError, match=f"app.py cannot be imported: {message}") as error:
        load("app.py")
    found = find_user_line(error.value)
    assert found is not None
    assert str(found).startswith(f"app.py:{line}\n  {source}")


def test_an_import_that_fails_can_be_repeated(write):
    file = write("app.py", "1 / 0")
    with pytest.raises(SettingsError, match="ZeroDivisionError"):
        load("app.py")
    file.write_text(SERVICE.format("orders"))
    assert names("app.py") == ["orders"]


def test_the_line_is_the_deepest_of_the_users_own(write):
    write("helpers.py", "def fail():\n    int('x')\n")
    write("app.py", "import helpers\nhelpers.fail()\n")
    with pytest.raises(SettingsError, match="invalid literal") as error:
        load("app.py")
    assert str(find_user_line(error.value)) == "helpers.py:2\n  int('x')"


def test_a_declaration_error_says_what_it_says_and_where(write):
    write(
        "app.py",
        SERVICE.format("orders") + "\n@orders.function(timout=5)\nasync def place() -> None: ...\n",
    )
    with pytest.raises(DeclarationError, match=r"^a function has no option 'timout'") as error:
        load("app.py")
    assert str(find_user_line(error.value)) == "app.py:6\n  @orders.function(timout=5)"


def test_a_syntax_error_is_pointed_at(write):
    write("app.py", "def f():\n    return (1 +* 2)\n")
    with pytest.raises(SettingsError) as error:
        load("app.py")
    assert str(find_user_line(error.value)) == "app.py:2\n  return (1 +* 2)\n             ^"
