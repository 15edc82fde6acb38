"""`eventmesh build`: images of services."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from eventmesh.cli.options import targets_argument
from eventmesh.targets.parse import read_target

if TYPE_CHECKING:
    from eventmesh.packaging.image import Image


@click.command()
@targets_argument
@click.option("--tag", default="latest", show_default=True, help="The tag of the images.")
@click.option(
    "--base",
    metavar="IMAGE",
    help="The image to build on, such as python:3.13-slim@sha256:…  [default: the Dockerfile's]",
)
@click.option("--push", "registry", metavar="REGISTRY", help="Also push them there.")
@click.option(
    "--prepare", is_flag=True, help="Only write the files that the build needs; use no engine."
)
def command(
    *, targets: tuple[str, ...], tag: str, base: str | None, registry: str | None, prepare: bool
) -> None:
    """Build an image of each TARGET's folder, with Docker or Podman.

    A TARGET is a file or a folder with an app.py. The image is named after the folder. Missing
    files are written first: Dockerfile, .dockerignore, requirements.txt, constraints.txt with the
    versions that are installed here, and a wheel of eventmesh. Files of yours are not overwritten.
    """
    if prepare and registry is not None:
        raise click.UsageError("--prepare builds no image that --push could push: use one of them")
    from eventmesh.packaging.container_engine import detect_engine  # noqa: PLC0415 - not for --help
    from eventmesh.packaging.image import check_image_names, image_for_target  # noqa: PLC0415

    images = [image_for_target(read_target(target)) for target in targets]
    check_image_names(images)
    if prepare:
        _prepare(images, tag, base)
        return
    engine = detect_engine()
    for image in images:
        _write_missing(image)
        name = f"{image.name}:{tag}"
        engine.build(image, name, base)
        click.echo(f"built {name}")
        if registry is not None:
            remote = f"{registry.rstrip('/')}/{name}"
            engine.push(name, remote)
            click.echo(f"pushed {remote}")


def _prepare(images: list[Image], tag: str, base: str | None) -> None:
    """Write the files of the images, and print the commands that build them."""
    from eventmesh.packaging.container_engine import DOCKER, build_arguments  # noqa: PLC0415

    for image in images:
        _write_missing(image)
    click.echo("\nBuild with:")
    for image in images:
        arguments = build_arguments(DOCKER, image, f"{image.name}:{tag}", base)
        click.echo(f"  {shlex.join([DOCKER, *arguments])}")


def _write_missing(image: Image) -> None:
    from eventmesh.packaging.image import write_missing_files  # noqa: PLC0415 - not for --help

    for file in write_missing_files(image):
        click.echo(f"wrote {file}")
