import pytest
from click.testing import CliRunner

from eventmesh.cli.main import cli
from eventmesh.model.errors import SettingsError
from eventmesh.rollout.run import name_revision


def run(*arguments):
    return CliRunner().invoke(cli, arguments, prog_name="eventmesh")


@pytest.fixture
def no_engine(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("autoscale",), "--project"),
        (("autoscale", "--project", "shop", "--utilisation", "1.5"), "1.5"),
        (("autoscale", "--project", "shop", "orders=3..1", "--admin-port", "0"), "3..1"),
        (("autoscale", "--project", "shop", "orders", "--admin-port", "0"), "MIN..MAX"),
        (("deploy", "orders", "orders:2"), "--project"),
        (("deploy", "orders", "--project", "shop"), "image"),
        (("deploy", "orders", "x", "--project", "shop", "--share", "0.1"), "10%"),
        (("deploy", "orders", "x", "--project", "shop", "--share", "200%"), "200%"),
        (("deploy", "orders", "x y", "--project", "shop"), "--revision"),
        (("deploy", "orders", "--project", "shop", "--status", "--abort"), "--abort"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_opened(no_engine, arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("autoscale", "--project", "shop", "--admin-port", "0"),
        ("deploy", "orders", "orders:2", "--project", "shop"),
        ("deploy", "orders", "--project", "shop", "--status"),
        ("deploy", "orders", "--project", "shop", "--abort"),
    ],
)
def test_an_engine_that_does_not_answer_is_told_with_what_to_do(no_engine, arguments):
    result = run(*arguments)
    assert result.exit_code == 4
    assert "DOCKER_HOST" in result.stderr


def test_a_version_is_called_like_its_image_unless_it_is_named():
    assert name_revision("registry.example/shop/orders:1.4", None).endswith("orders:1.4")
    assert name_revision("orders", "2026-11-30") == "2026-11-30"
    with pytest.raises(SettingsError, match="--revision"):
        name_revision("orders" * 30, None)
