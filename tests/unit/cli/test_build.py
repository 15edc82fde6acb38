import stat

import pytest
from click.testing import CliRunner

from eventmesh.cli.main import cli
from eventmesh.packaging import container_engine as engine

HANG = "exec /usr/bin/tail -f /dev/null"


@pytest.fixture
def engines(project, monkeypatch):
    """Make a command that notes how it is called, and answers as the script says."""
    # What is installed on the machine is not meant.
    monkeypatch.setenv("PATH", str(project / "bin"))

    def make(name, script=""):
        file = project / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'#!/bin/sh\necho "{name} $*" >> {project}/calls\n{script}\n')
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    return make


@pytest.fixture
def build(write):
    for folder in ("hello", "Other_One"):
        write(f"{folder}/app.py", "raise SystemExit('nothing is imported')")
    return lambda *arguments: CliRunner().invoke(cli, ["build", *arguments], prog_name="eventmesh")


def calls(project):
    return (project / "calls").read_text().splitlines()


def test_an_image_of_each_folder(engines, build, project):
    engines("docker")
    result = build("hello", "Other_One/app.py", "--tag", "1.2")
    assert result.exit_code == 0, result.output
    assert calls(project) == [
        "docker version",
        *(
            f"docker build --file {project / folder}/Dockerfile --tag {name}:1.2 {project / folder}"
            for folder, name in (("hello", "hello"), ("Other_One", "other-one"))
        ),
    ]
    assert f"wrote {project / 'hello' / 'Dockerfile'}\n" in result.stdout
    assert result.stdout.endswith("built other-one:1.2\n")


def test_the_base_image_can_be_another(engines, build, project):
    engines("docker")
    base = f"python:3.13-slim@sha256:{'0' * 64}"
    assert build("hello", "--base", base).exit_code == 0
    assert f" --build-arg BASE={base} --file " in calls(project)[1]
    dockerfile = (project / "hello" / "Dockerfile").read_text()
    froms = [line for line in dockerfile.splitlines() if line.startswith("FROM ")]
    outside = [line for line in froms if line.split()[1] not in ("eventmesh", "runtime")]
    assert outside == ["FROM $BASE AS eventmesh", "FROM $BASE AS runtime"]


def test_two_images_of_one_name(engines, build, write, project):
    engines("docker")
    write("other_one/app.py", "")
    result = build("Other_One", "other_one")
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: the images of {project / 'Other_One'} and {project / 'other_one'} would both be "
        "named 'other-one', and one would replace the other: rename one of the folders\n"
    )
    assert not (project / "calls").exists()


def test_one_folder_twice(engines, build):
    engines("docker")
    assert build("hello", "hello/app.py:one").exit_code == 0


def test_extras_are_installed_too(engines, build, project):
    engines("docker")
    assert build("hello", "--extra", "otel", "--extra", "jwt").exit_code == 0
    assert " --build-arg EXTRAS=[jwt,otel] --file " in calls(project)[1]


def test_an_extra_that_there_is_not(engines, build, project):
    engines("docker")
    result = build("hello", "--extra", "oidc")
    assert result.exit_code == 2
    assert "eventmesh has no extra 'oidc': there are jwt, lambda, otel" in result.stderr
    assert not (project / "calls").exists()


@pytest.mark.parametrize("other", [("--prepare",), ("--push", "registry.example")])
def test_a_lock_is_written_without_a_build(engines, build, other):
    engines("docker")
    result = build("hello", "--lock", *other)
    assert result.exit_code == 2
    assert "builds no image" in result.stderr


def test_pushing(engines, build, project):
    engines("docker")
    result = build("hello", "--push", "registry.example/shop/")
    assert calls(project)[2:] == [
        "docker tag hello:latest registry.example/shop/hello:latest",
        "docker push registry.example/shop/hello:latest",
    ]
    assert result.stdout.endswith("pushed registry.example/shop/hello:latest\n")


def test_the_one_that_answers_is_taken(engines, build, project):
    engines("docker", "exit 1")
    engines("podman")
    assert build("hello").exit_code == 0
    # Without that, Podman leaves the health check out.
    assert calls(project)[-1].startswith("podman build --format docker --file ")


def test_none_answers(engines, build, project):
    engines("docker", "echo 'Cannot connect to the daemon' >&2; exit 1")
    engines("podman", "exit 7")
    result = build("hello")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: no container engine answers (docker: Cannot connect to the daemon; podman: "
        "code 7): start Docker, install Docker or Podman, or write the files for a build elsewhere "
        "with --prepare\n"
    )
    assert [file.name for file in (project / "hello").iterdir()] == ["app.py"]


def test_preparing_takes_no_engine(engines, build, project):
    engines("docker")
    result = build("hello", "Other_One", "--tag", "1.2", "--prepare")
    assert result.exit_code == 0, result.output
    assert not (project / "calls").exists()
    for folder in ("hello", "Other_One"):
        written = {file.name for file in (project / folder).iterdir()}
        assert written >= {"Dockerfile", ".dockerignore", "constraints.txt", "vendor"}
        assert f"wrote {project / folder / 'Dockerfile'}\n" in result.stdout
    assert result.stdout.splitlines()[-3:] == [
        "Build with:",
        *(
            f"  docker build --file {project / folder}/Dockerfile --tag {name}:1.2 "
            f"{project / folder}"
            for folder, name in (("hello", "hello"), ("Other_One", "other-one"))
        ),
    ]


def test_what_is_prepared_cannot_be_pushed(build, project):
    result = build("hello", "--prepare", "--push", "registry.example")
    assert result.exit_code == 2
    assert "--prepare builds no image" in result.stderr
    assert [file.name for file in (project / "hello").iterdir()] == ["app.py"]


def test_none_is_there(engines, build, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    result = build("hello")
    assert "(docker: not installed; podman: not installed)" in result.stderr


def test_one_that_hangs_does_not_answer(engines, build, monkeypatch):
    engines("docker", HANG)
    monkeypatch.setattr(engine, "_ANSWER_SECONDS", 0.2)
    assert "docker: no answer within 0.2 s" in build("hello").stderr


def test_a_build_that_fails(engines, build):
    engines("docker", '[ "$1" != build ] || exit 3')
    result = build("hello")
    assert result.exit_code == 1
    assert result.stderr == ("Error: docker build failed with code 3; its output is above\n")
    assert "built" not in result.stdout


def test_a_build_that_hangs(engines, build, monkeypatch):
    engines("docker", f'[ "$1" != build ] || {HANG}')
    monkeypatch.setattr(engine, "_WORK_SECONDS", 0.2)
    result = build("hello")
    assert result.exit_code == 1
    assert "docker build was stopped: it took over 0.2 s" in result.stderr
