import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from eventmesh.testing.clock import ManualClock


@pytest.fixture(scope="session")
def rsa():
    return RSAKey.generate_key(2048, {"kid": "rsa"})


@pytest.fixture(scope="session")
def ec():
    return ECKey.generate_key("P-256", {"kid": "ec"})


@pytest.fixture(scope="session")
def ed():
    return OKPKey.generate_key("Ed25519", {"kid": "ed"})


@pytest.fixture
def clock():
    return ManualClock()
