"""The settings of processes: environment variables, checked and as one value."""

from eventmesh.model.settings.settings import (
    LOCAL_MESH,
    MEMORY,
    STORES,
    BrokerUsers,
    ErrorDetail,
    LogFormat,
    LogLevel,
    Settings,
    StoreMigrate,
    redacted,
    scheme_of,
    variable,
)

__all__ = [
    "LOCAL_MESH",
    "MEMORY",
    "STORES",
    "BrokerUsers",
    "ErrorDetail",
    "LogFormat",
    "LogLevel",
    "Settings",
    "StoreMigrate",
    "redacted",
    "scheme_of",
    "variable",
]
