from types import SimpleNamespace

import pytest
from multidict import CIMultiDict

from eventmesh.http.api.guard import Action, ApiGuard
from eventmesh.model.access.identity import LOCAL
from eventmesh.model.errors import AccessDenied
from eventmesh.model.settings import Settings


def request(remote):
    return SimpleNamespace(headers=CIMultiDict(Host="127.0.0.1:8080"), remote=remote)


async def test_a_socket_that_is_bound_elsewhere_opens_the_apis_to_nobody():
    guard = ApiGuard(Settings(http_fd=3), None)
    for remote in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert await guard.admit(request(remote), "read", Action("list")) == LOCAL
    for remote in ("192.0.2.1", "10.0.0.1", ""):
        with pytest.raises(AccessDenied, match="only this machine"):
            await guard.admit(request(remote), "read", Action("list"))
