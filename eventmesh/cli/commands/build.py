"""`eventmesh build`: images of services."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from eventmesh.cli.options import targets_argument
from eventmesh.targets.parse import read_target

if TYPE_CHECKING:
    from eventmesh.packaging.container_engine import ContainerEngine
    from eventmesh.packaging.image import Image


@click.command()
@targets_argument
@click.option("--tag", default="latest", show_default=True, help="The tag of the images.")
@click.option(
    "--base",
    metavar="IMAGE",
    help="The image to build on, such as python:3.13-slim@sha256:…  [default: the Dockerfile's]",
)
@click.option(
    "--extra",
    "extras",
    metavar="NAME",
    multiple=True,
    help="An extra of eventmesh to install too, such as jwt or otel. Can be given several times.",
)
@click.option(
    "--lock",
    is_flag=True,
    help="Only write requirements.lock, anew: the files that the images install, by hash.",
)
@click.option("--push", "registry", metavar="REGISTRY", help="Also push them there.")
@click.option(
    "--prepare", is_flag=True, help="Only write the files that the build needs; use no engine."
)
def command(
    *,
    targets: tuple[str, ...],
    tag: str,
    base: str | None,
    extras: tuple[str, ...],
    lock: bool,
    registry: str | None,
    prepare: bool,
) -> None:
    """Build an image of each TARGET's folder, with Docker or Podman.

    A TARGET is a file or a folder with an app.py. The image is named after the folder. Missing
    files are written first: Dockerfile, .dockerignore, requirements.txt, constraints.txt with the
    versions that are installed here, and a wheel of eventmesh. Files of yours are not overwritten.
    """
    chosen = [
        name
        for name, given in (("--prepare", prepare), ("--lock", lock), ("--push", registry))
        if given
    ]
    if len(chosen) > 1:
        raise click.UsageError(f"{chosen[0]} builds no image, and {chosen[1]} does not go with it")
    from eventmesh.packaging.container_engine import detect_engine  # noqa: PLC0415 - not for --help
    from eventmesh.packaging.image import (  # noqa: PLC0415
        check_image_names,
        extras_argument,
        image_for_target,
    )

    images = [image_for_target(read_target(target)) for target in targets]
    check_image_names(images)
    extras_argument(extras)  # One that there is not is refused before anything is done.
    if prepare:
        _prepare(images, tag, base, extras)
        return
    engine = detect_engine()
    if lock:
        _lock(engine, images, base, extras)
        return
    for image in images:
        _write_missing(image)
        name = f"{image.name}:{tag}"
        engine.build(image, name, base, extras)
        click.echo(f"built {name}")
        if registry is not None:
            remote = f"{registry.rstrip('/')}/{name}"
            engine.push(name, remote)
            click.echo(f"pushed {remote}")


def _lock(
    engine: ContainerEngine, images: list[Image], base: str | None, extras: tuple[str, ...]
) -> None:
    from eventmesh.packaging.lock import write_locks  # noqa: PLC0415 - not for --help

    for image in images:
        _write_missing(image)
    for file in write_locks(engine, images, base, extras):
        click.echo(f"wrote {file}")


def _prepare(images: list[Image], tag: str, base: str | None, extras: tuple[str, ...]) -> None:
    """Write the files of the images, and print the commands that build them."""
    from eventmesh.packaging.container_engine import DOCKER, build_arguments  # noqa: PLC0415

    for image in images:
        _write_missing(image)
    click.echo("\nBuild with:")
    for image in images:
        arguments = build_arguments(DOCKER, image, f"{image.name}:{tag}", base, extras)
        click.echo(f"  {shlex.join([DOCKER, *arguments])}")


def _write_missing(image: Image) -> None:
    from eventmesh.packaging.image import write_missing_files  # noqa: PLC0415 - not for --help

    for file in write_missing_files(image):
        click.echo(f"wrote {file}")
