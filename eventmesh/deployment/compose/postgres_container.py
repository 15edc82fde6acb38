"""The container of PostgreSQL in a compose file: how it starts, and its lines."""

from __future__ import annotations

from typing import Any, Final

from eventmesh.packaging.certificates import server_files
from eventmesh.packaging.secret_files import POSTGRES, ROLES

IMAGE: Final = "${POSTGRES_IMAGE:-postgres:17}"
"""With its major version: the files of one cannot be read by the next."""

START: Final = "postgres.sh"
"""The file by which it starts, beside the compose file: there is no secret in it."""

_CERTIFICATE, _KEY = server_files(POSTGRES)
SECRETS: Final = (_CERTIFICATE, _KEY, ROLES)

_VOLUME: Final = "/var/lib/postgresql/data"
_TARGET: Final = f"/etc/{START}"

POSTGRES_SH: Final = f"""\
#!/bin/sh
# Starts PostgreSQL in containers: docs/containers.md
set -eu
umask 077
PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)

# Made elsewhere first: what a container that is killed has half made is no cluster.
if [ ! -d "$PGDATA" ]; then
    rm -rf "$PGDATA.new"
    initdb --pgdata="$PGDATA.new" --username=postgres --auth-local=peer --auth-host=reject \\
        --encoding=UTF8 --locale=C --data-checksums
    mv "$PGDATA.new" "$PGDATA"
fi

# Over TLS alone, and each user to the database of its name. The administrator has no password.
cat >/tmp/pg_hba.conf <<'END'
local   all       postgres      peer
hostssl sameuser  all      all  scram-sha-256
END

# It refuses a key that others can read.
install -m 600 /run/secrets/{_KEY} /tmp/{_KEY}

set -- \\
    -c hba_file=/tmp/pg_hba.conf \\
    -c unix_socket_directories=/tmp \\
    -c ssl=on \\
    -c ssl_cert_file=/run/secrets/{_CERTIFICATE} \\
    -c ssl_key_file=/tmp/{_KEY} \\
    -c ssl_min_protocol_version=TLSv1.2 \\
    -c max_connections=300

# The users and their databases, at each start, while nobody else can connect.
pg_ctl start --silent --wait --timeout=3600 -o "$* -c listen_addresses="
psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --file=/run/secrets/{ROLES}
pg_ctl stop --silent --wait --timeout=3600 --mode=fast

exec postgres "$@" -c listen_addresses='*'
"""


def postgres_service() -> dict[str, Any]:
    """Return the lines of its own; those of every container come to them."""
    return {
        "image": IMAGE,
        "user": POSTGRES,
        "entrypoint": ["sh", _TARGET],
        "secrets": list(SECRETS),
        "configs": [{"source": START, "target": _TARGET}],
        # Also of `docker compose exec postgres psql`.
        "environment": {
            "PGDATA": f"{_VOLUME}/cluster",
            "PGHOST": "/tmp",  # noqa: S108 - in the memory of the container
            "PGUSER": POSTGRES,
        },
        "volumes": [f"{POSTGRES}:{_VOLUME}"],
        "healthcheck": {
            # Over TCP: while it makes users it listens to no others.
            "test": ["CMD", "pg_isready", "-q", "-h", "127.0.0.1"],
            "interval": "10s",
            "timeout": "10s",
            "start_period": "60s",
        },
        "stop_signal": "SIGINT",  # Ends transactions; SIGTERM would wait for them.
        "stop_grace_period": "60s",
    }
