"""Logging in to the console through an OpenID Connect provider."""

from eventmesh.console.api.login.build import build_login
from eventmesh.console.api.login.routes import Login
from eventmesh.console.api.login.sessions import SESSION, LoginWanted

__all__ = ["SESSION", "Login", "LoginWanted", "build_login"]
