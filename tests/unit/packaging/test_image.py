import re
from importlib.metadata import version
from pathlib import Path

import pytest

from eventmesh.model.errors import SettingsError
from eventmesh.packaging.image import (
    dockerfile_fields,
    image_for_new_service,
    image_for_target,
    image_name,
    render_template,
    write_missing_files,
)
from eventmesh.targets.parse import read_target

ROOT = Path(__file__).parents[3]
SERVICES = sorted(app.parent.name for app in (ROOT / "services").glob("*/app.py"))

WHEEL = f"vendor/eventmesh-{version('eventmesh')}-py3-none-any.whl"


def dockerfile(image):
    return render_template("Dockerfile", dockerfile_fields(image))


@pytest.mark.parametrize(
    ("target", "folder", "argument"),
    [
        ("hello", "hello", "hello"),
        ("hello/app.py", "hello", "hello"),
        ("hello/other.py", "hello", "hello/other.py"),
        ("hello/other.py:one", "hello", "hello/other.py:one"),
        ("package", "package", "package"),
        ("package/inner/app.py", "package", "package/inner/app.py"),
    ],
)
def test_the_image_of_a_target(write, project, target, folder, argument):
    for file in ("hello/app.py", "hello/other.py", "package/app.py", "package/inner/app.py"):
        write(file, "")
    write("package/__init__.py", "")
    write("package/inner/__init__.py", "")
    image = image_for_target(read_target(target))
    assert (image.folder, image.context) == (project / folder, project / folder)
    assert image.argument == argument
    assert f'CMD ["run", "{argument}"]\n' in dockerfile(image)
    # The folder keeps its name, so that relative imports find their package.
    assert f"COPY ./ /app/{folder}\n" in dockerfile(image)


def test_a_module_is_no_folder(write):
    write("shop/__init__.py", "")
    with pytest.raises(SettingsError, match=r"shop\.orders is a module, and images are built from"):
        image_for_target(read_target("shop.orders"))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("my shop/app.py", "my shop"),
        ("a$b/app.py", "a$b"),
        ('a"b/app.py', 'a"b'),
        ("a:b/app.py", "a:b"),
        ("-a/app.py", "-a"),
        ("a/b c.py", "b c.py"),
    ],
)
def test_a_name_that_means_something_else_to_docker(write, path, name):
    write(path, "")
    with pytest.raises(SettingsError) as refused:
        image_for_target(read_target(path))
    assert f"no image can be built from the name {name!r}: rename it" in str(refused.value)


def test_a_new_folder_whose_name_means_something_else_to_docker(project):
    with pytest.raises(SettingsError, match="no image can be built from the name 'my shop'"):
        image_for_new_service(project / "my shop")


def test_what_lies_above_the_folder_may_be_called_as_it_likes(write, project):
    write("my $hops/été_1.0+b/app.py", "")
    image = image_for_target(read_target("my $hops/été_1.0+b"))
    assert image.folder == project / "my $hops/été_1.0+b"


def test_in_a_clone_every_folder_below_it_counts(write):
    for file in ("a b/pyproject.toml", "a b/eventmesh/packaging/template/Dockerfile.tmpl"):
        write(file, "")
    for folder in ("services", "my services"):
        write(f"a b/{folder}/hello/app.py", "")
    assert image_for_target(read_target("a b/services/hello")).argument == "hello"
    with pytest.raises(SettingsError, match="'my services'"):
        image_for_target(read_target("a b/my services/hello"))


@pytest.mark.parametrize(
    ("text", "name"),
    [("orders", "orders"), ("_My-Shop__2-", "my-shop-2"), ("été", "t"), ("___", "service")],
)
def test_what_an_image_is_called(text, name):
    assert image_name(text) == name


def test_what_is_missing_is_written_and_nothing_else(write, project):
    write("hello/app.py", "")
    image = image_for_target(read_target("hello"))
    others = {"Dockerfile", ".dockerignore", "requirements.txt", "constraints.txt"}
    written = {
        file.relative_to(project / "hello").as_posix() for file in write_missing_files(image)
    }
    assert written == {*others, WHEEL}
    assert image.dockerfile.read_text() == dockerfile(image)
    for name in others:
        write(f"hello/{name}", "mine")
    assert [*write_missing_files(image)] == [project / "hello" / WHEEL]
    assert {(project / "hello" / name).read_text() for name in others} == {"mine"}


def test_the_versions_are_those_that_are_installed_here(write, project):
    write("hello/app.py", "")
    list(write_missing_files(image_for_target(read_target("hello"))))
    pins = (project / "hello/constraints.txt").read_text().splitlines()
    assert f"click=={version('click')}" in pins
    assert not [pin for pin in pins if pin.startswith("eventmesh")]


def test_in_a_clone_of_eventmesh_it_is_made_from_source(write, project):
    for file in ("pyproject.toml", "eventmesh/packaging/template/Dockerfile.tmpl"):
        write(file, "")
    write("services/hello/app.py", "")
    image = image_for_target(read_target("services/hello"))
    assert image.context == project
    assert "COPY eventmesh eventmesh\n" in dockerfile(image)
    assert "COPY services/hello/ /app/hello\n" in dockerfile(image)
    written = {file.relative_to(project).as_posix() for file in write_missing_files(image)}
    assert written == {"services/hello/Dockerfile", "services/hello/requirements.txt"}


@pytest.mark.parametrize("service", SERVICES)
def test_what_the_shops_services_need_is_pinned(service):
    def names(file):
        return {re.split("[^a-z0-9]", line.lower())[0] for line in file.read_text().splitlines()}

    wanted = names(ROOT / "services" / service / "requirements.txt")
    assert "eventmesh" in wanted, "it needs the extra of the store"
    assert wanted - {"eventmesh"} <= names(ROOT / "constraints.txt")


@pytest.mark.parametrize("service", SERVICES)
def test_the_shops_dockerfiles_are_those_that_the_launcher_writes(service):
    image = image_for_target(read_target(str(ROOT / "services" / service)))
    assert image.context == ROOT
    assert image.dockerfile.read_text() == dockerfile(image)


def test_the_shops_lock_has_the_versions_that_are_tested():
    def pins(name):
        lines = (ROOT / name).read_text().lower().splitlines()
        return {line.partition(" ")[0] for line in lines if "==" in line}

    locked = pins("requirements.lock")
    assert locked <= pins("constraints.txt")
    assert {f"aiohttp=={version('aiohttp')}", f"aiosqlite=={version('aiosqlite')}"} <= locked
