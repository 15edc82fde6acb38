import pytest

from eventmesh.clusters.abc import ClusterError, ClusterUnavailable
from eventmesh.clusters.docker_api import NotFound, open_docker
from eventmesh.model.errors import SettingsError


async def test_it_speaks_the_version_of_the_engine(api, engine):
    await api.get("/info")
    assert [path for _, path, _ in engine.requests] == ["/version", "/info"]


async def test_refusals_say_what_the_engine_said(api, engine):
    engine.refuse["GET", "/info"] = (500, "the disk is full")
    with pytest.raises(ClusterError, match=r"500.*the disk is full"):
        await api.get("/info")
    with pytest.raises(NotFound):
        await api.get("/services/nobody")


async def test_an_engine_that_is_not_there_is_told_with_what_to_do(tmp_path):
    with pytest.raises(ClusterUnavailable, match="DOCKER_HOST"):
        async with open_docker({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}):
            pass


@pytest.mark.parametrize("host", ["ssh://me@there", "npipe:////./pipe/docker", "tcp://", "here"])
async def test_places_that_cannot_be_asked_are_refused(host):
    with pytest.raises(SettingsError, match="DOCKER_HOST"):
        async with open_docker({"DOCKER_HOST": host}):
            pass


async def test_certificates_that_are_not_there_are_told(tmp_path):
    environ = {
        "DOCKER_HOST": "tcp://127.0.0.1:2376",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(tmp_path),
    }
    with pytest.raises(SettingsError, match="DOCKER_CERT_PATH"):
        async with open_docker(environ):
            pass
