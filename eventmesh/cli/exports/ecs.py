"""`eventmesh export ecs`: a CloudFormation template, or task definitions for Amazon ECS."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import click

from eventmesh.cli.deploy_options import load
from eventmesh.cli.exports.options import export_options


@click.command("ecs")
@export_options(
    "Write into this folder, and the users of RabbitMQ into broker/ in it.", folder=True
)
@click.option(
    "--task-definitions",
    is_flag=True,
    help="Task definitions alone, for 'aws ecs register-task-definition', in place of a template.",
)
def command(
    *,
    targets: tuple[str, ...],
    output: Path | None,
    task_definitions: bool,
    config: Path | None,
    settings: tuple[str, ...],
) -> None:
    """Print a CloudFormation template: an ECS service for each TARGET, Amazon MQ and a gateway.

    What an account decides is a parameter, and [deploy.ecs] has the defaults. No secret is in it:
    secrets are ARNs of Secrets Manager.
    """
    from eventmesh.deployment.config_file import read_config  # noqa: PLC0415 - not for --help
    from eventmesh.deployment.ecs.limits import MAX_BODY  # noqa: PLC0415
    from eventmesh.deployment.ecs.template import TEMPLATE, render, warnings  # noqa: PLC0415
    from eventmesh.deployment.write import write_texts  # noqa: PLC0415
    from eventmesh.packaging.broker_export import write_broker_files  # noqa: PLC0415

    folder = Path() if output is None else output
    deployment = load(targets, config, settings, folder, managed=True)
    ecs = read_config(config, settings).ecs
    texts = render(deployment, ecs, task_definitions=task_definitions)
    for warning in warnings(deployment, ecs):
        click.echo(f"Warning: {warning}", err=True)
    if output is None:
        click.echo("\n".join(texts.values()), nl=False)
        return
    for file in write_texts(output, texts):
        click.echo(f"wrote {file}")
    if task_definitions:
        return
    users = output / "broker"
    for file in write_broker_files(deployment.rights, users, deployment.broker.virtual_host):
        click.echo(f"wrote {file}")
    file = output / TEMPLATE
    large = len(texts[TEMPLATE].encode()) > MAX_BODY
    click.echo(
        f"\nDeploy it with:\n  aws cloudformation deploy --template-file {quote(str(file))} "
        f"--stack-name {deployment.name} --capabilities CAPABILITY_IAM"
        + (" --s3-bucket BUCKET" if large else "")
    )
