import pytest

from eventmesh.brokers.rabbitmq.management.inspector import is_tested


@pytest.mark.parametrize("version", ["3.10.8", "3.13.0", "4.3.9"])
def test_versions_that_were_tested(version):
    assert is_tested(version)


@pytest.mark.parametrize("version", ["3.9.29", "4.4.0", "5.0.0", ""])
def test_versions_that_were_not(version):
    assert not is_tested(version)
