"""Who may use a route: what `auth=` of a route or of a service takes, and what it finds out.

    @orders.function(on.get("/orders", auth=[ApiKeys("keys.toml"), Jwt(issuer=…, …)]))
    async def list_orders(identity: Identity) -> list[Order]: ...

All of these are data: nothing is opened until the host starts.
"""

from __future__ import annotations

from eventmesh.model.access.authorizers import Anyone, ApiKeys, Authorizer, Jwt
from eventmesh.model.access.identity import Identity
from eventmesh.model.errors import Unauthenticated
from eventmesh.model.invocation import HttpRequest

__all__ = ["Anyone", "ApiKeys", "Authorizer", "HttpRequest", "Identity", "Jwt", "Unauthenticated"]
