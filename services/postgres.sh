#!/bin/sh
# Starts PostgreSQL in containers: docs/containers.md
set -eu
umask 077
PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)

# Made elsewhere first: what a container that is killed has half made is no cluster.
if [ ! -d "$PGDATA" ]; then
    rm -rf "$PGDATA.new"
    initdb --pgdata="$PGDATA.new" --username=postgres --auth-local=peer --auth-host=reject \
        --encoding=UTF8 --locale=C --data-checksums
    mv "$PGDATA.new" "$PGDATA"
fi

# Over TLS alone, and each user to the database of its name. The administrator has no password.
cat >/tmp/pg_hba.conf <<'END'
local   all       postgres      peer
hostssl sameuser  all      all  scram-sha-256
END

# It refuses a key that others can read.
install -m 600 /run/secrets/postgres.key /tmp/postgres.key

set -- \
    -c hba_file=/tmp/pg_hba.conf \
    -c unix_socket_directories=/tmp \
    -c ssl=on \
    -c ssl_cert_file=/run/secrets/postgres.pem \
    -c ssl_key_file=/tmp/postgres.key \
    -c ssl_min_protocol_version=TLSv1.2 \
    -c max_connections=300

# The users and their databases, at each start, while nobody else can connect.
pg_ctl start --silent --wait --timeout=3600 -o "$* -c listen_addresses="
psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --file=/run/secrets/postgres.sql
pg_ctl stop --silent --wait --timeout=3600 --mode=fast

exec postgres "$@" -c listen_addresses='*'
