"""`eventmesh build`: images of services."""

from __future__ import annotations

import click

from eventmesh.cli.options import targets_argument
from eventmesh.targets.parse import read_target


@click.command()
@targets_argument
@click.option("--tag", default="latest", show_default=True, help="What stands after the ':'.")
@click.option("--push", "registry", metavar="REGISTRY", help="Push it to there, too.")
def command(*, targets: tuple[str, ...], tag: str, registry: str | None) -> None:
    """Build an image of each TARGET's folder, with Docker or Podman.

    A TARGET is a file or a folder with an app.py. The image is called as its folder is. What is
    missing there is written first: Dockerfile, .dockerignore, requirements.txt, constraints.txt
    with the versions that are installed here, and eventmesh itself. Nothing is overwritten.
    """
    from eventmesh.packaging.container_engine import detect  # noqa: PLC0415 - not for --help
    from eventmesh.packaging.image import check_image_names, image_for_target, write_missing_files  # noqa: PLC0415

    images = [image_for_target(read_target(target)) for target in targets]
    check_image_names(images)
    engine = detect()
    for image in images:
        for file in write_missing_files(image):
            click.echo(f"wrote {file}")
        name = f"{image.name}:{tag}"
        engine.build(image, name)
        click.echo(f"built {name}")
        if registry is not None:
            remote = f"{registry.rstrip('/')}/{name}"
            engine.push(name, remote)
            click.echo(f"pushed {remote}")
