"""What the page about `eventmesh export ecs` says: its keys, and what its commands show."""

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from eventmesh.cli.main import cli
from eventmesh.deployment.platforms import Ecs

SERVICE = """
from eventmesh import Service, on

{name} = Service("{name}", calls=[], emits=[])

@{name}.function(on.queue("deliveries"), concurrency=10)
async def reserve(order: str) -> None: ...
"""
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop/{}-AbCdEf"
ROLE = "arn:aws:iam::123456789012:role/start"


def section(name):
    text = (Path(__file__).parents[3] / "docs/cli.md").read_text(encoding="utf-8")
    return text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def test_the_page_has_all_keys_and_no_other():
    rows = re.findall(r"^\| (`.*?`) \|", section("export ecs"), re.MULTILINE)
    keys = [key for row in rows for key in re.findall(r"`(\w+)`", row)]
    assert sorted(keys) == sorted(Ecs.model_fields)


def test_the_commands_of_the_page_do_what_it_shows(write, project):
    for name in ("orders", "billing"):
        write(f"{name}/app.py", SERVICE.format(name=name))
    shown = re.findall(
        r"^\$ eventmesh (export ecs .*?)\n([^ ].*?)\n(?:\$|```)",
        section("export ecs"),
        re.MULTILINE | re.DOTALL,
    )
    assert len(shown) == 2
    secrets = "".join(
        f'{name} = "{SECRET.format(name)}"\n'
        for name in ("orders", "billing", "gateway", "operator")
    )
    write(
        "shop.toml",
        f"""
[deploy]
name = "shop"
registry = "images.example"
broker = "amqps://mq.example/shop"
[deploy.ecs]
region = "eu-central-1"
execution_role = "{ROLE}"
[deploy.ecs.secrets]
{secrets}""",
    )
    for command, output in shown:
        result = CliRunner().invoke(cli, shlex.split(command.replace("\\\n", " ")))
        assert result.exit_code == 0, result.output
        told = result.stdout.splitlines()
        for line in output.splitlines():
            assert line in (*told, "…")
