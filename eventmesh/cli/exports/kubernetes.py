"""`eventmesh export kubernetes`: manifests and a kustomization."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import click

from eventmesh.cli.deploy_options import load
from eventmesh.cli.exports.options import export_options


@click.command("kubernetes")
@export_options("Write the files into this folder, and secrets into secrets/ in it.", folder=True)
def command(
    *,
    targets: tuple[str, ...],
    output: Path | None,
    config: Path | None,
    settings: tuple[str, ...],
) -> None:
    """Print manifests for Kubernetes: a Deployment for each TARGET, RabbitMQ and a gateway.

    Secrets are in none of them: with --output a kustomization makes them of files.
    """
    from eventmesh.deployment.config_file import read_config  # noqa: PLC0415 - not for --help
    from eventmesh.deployment.kubernetes.manifests import (  # noqa: PLC0415
        KUSTOMIZATION,
        missing_secrets,
        render_manifests,
    )
    from eventmesh.deployment.write import write_texts  # noqa: PLC0415
    from eventmesh.packaging.secret_files import RABBITMQ, write_secrets  # noqa: PLC0415

    deployment = load(targets, config, settings, Path() if output is None else output)
    kubernetes = read_config(config, settings).kubernetes
    texts = render_manifests(deployment, kubernetes)
    if output is None:
        shown = [text for name, text in texts.items() if name != KUSTOMIZATION]
        click.echo("---\n".join(shown), nl=False)
        return
    for file in write_texts(output, texts):
        click.echo(f"wrote {file}")
    folder = output / "secrets"
    service = f"{RABBITMQ}.{kubernetes.namespace or deployment.name}"
    for file in write_secrets(folder, deployment.rights, also=(service, f"{service}.svc")):
        click.echo(f"wrote {file}")
    for file in missing_secrets(deployment, folder):
        click.echo(f"Warning: {file} is yours to write before", err=True)
    click.echo(f"\nApply them with:\n  kubectl apply --kustomize {quote(str(output))}")
