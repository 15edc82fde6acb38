import pytest

from eventmesh.model.errors import SettingsError
from eventmesh.targets.parse import Target, read_target


def test_a_file(write):
    file = write("app.py", "")
    assert read_target("app.py") == Target("app.py", file, "")


def test_a_file_and_a_name_in_it(write):
    file = write("app.py", "")
    assert read_target("app.py:orders") == Target("app.py:orders", file, "orders")


def test_a_folder_means_its_app(write):
    file = write("orders/app.py", "")
    assert read_target("orders").module == file
    assert read_target("orders/").module == file
    assert read_target("orders:service") == Target("orders:service", file, "service")


def test_the_current_folder(write):
    file = write("app.py", "")
    assert read_target(".").module == file


def test_a_module_and_a_name_in_it(project):
    assert read_target("shop.orders") == Target("shop.orders", "shop.orders", "")
    assert read_target("shop.orders:service") == Target(
        "shop.orders:service", "shop.orders", "service"
    )


def test_a_package_without_an_app_is_a_module(write):
    write("orders/__init__.py", "")
    assert read_target("orders").module == "orders"


def test_a_colon_within_a_path_names_nothing_in_it(write):
    file = write("C:/app.py", "")
    assert read_target("C:/app.py").module == file


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("nowhere.py", "nowhere.py"),
        ("no/where", "no/where"),
        ("nowhere.py:orders", "nowhere.py"),
        ("notes.txt", "notes.txt"),
        ("empty", "empty/app.py"),
        ("not-a-name", "not-a-name"),
    ],
)
def test_what_is_not_there(write, text, missing):
    write("notes.txt", "")
    write("empty/notes.txt", "")
    with pytest.raises(SettingsError, match=f"there is no '{missing}'.*a target is a file"):
        _ = read_target(text).folder


def test_a_file_is_watched_with_its_folder(write):
    file = write("orders/app.py", "")
    assert read_target("orders").folder == file.parent


def test_a_file_in_a_package_is_watched_with_the_package(write, project):
    for package in ("shop", "shop/orders"):
        write(f"{package}/__init__.py", "")
    write("shop/orders/app.py", "")
    assert read_target("shop/orders").folder == project / "shop"
    assert read_target("shop.orders.app").folder == project / "shop"


def test_a_module_is_watched_with_its_folder_and_not_imported(write, project):
    write("shop.py", "raise RuntimeError")
    assert read_target("shop").folder == project


def test_a_module_that_is_nowhere(project):
    with pytest.raises(SettingsError, match=r"there is no 'nowhere\.at_all'"):
        _ = read_target("nowhere.at_all").folder
