"""The container of RabbitMQ in a compose file: its settings, and its lines."""

from __future__ import annotations

from typing import Any, Final

from eventmesh.packaging.certificates import CA, SERVER, SERVER_KEY
from eventmesh.packaging.secret_files import DEFINITIONS, RABBITMQ

IMAGE: Final = "${RABBITMQ_IMAGE:-rabbitmq:4}"
CONFIGURATION: Final = "rabbitmq.conf"
"""The file with its settings, beside the compose file: there is no secret in it."""

SECRETS: Final = (CA, SERVER, SERVER_KEY, DEFINITIONS)

RABBITMQ_CONF: Final = f"""\
# Settings of RabbitMQ in containers: docs/containers.md

# AMQP over TLS alone. Clients are told apart by their passwords.
listeners.tcp = none
listeners.ssl.default = 5671
ssl_options.cacertfile = /run/secrets/{CA}
ssl_options.certfile = /run/secrets/{SERVER}
ssl_options.keyfile = /run/secrets/{SERVER_KEY}
ssl_options.verify = verify_none
ssl_options.fail_if_no_peer_cert = false
ssl_options.versions.1 = tlsv1.3
ssl_options.versions.2 = tlsv1.2

# The users and their rights, at each start. There is no default user beside them.
load_definitions = /run/secrets/{DEFINITIONS}
"""

_LOOPBACK: Final = "127.0.0.1"


def rabbitmq_service() -> dict[str, Any]:
    """Return the lines of its own; those of every container come to them.

    Nothing but AMQP over TLS listens beyond the container's loopback: no plugin, and neither
    Erlang's distribution nor its port mapper, by which a node is controlled
    (https://www.rabbitmq.com/docs/networking). The data are found again by the node's name.
    """
    return {
        "image": IMAGE,
        "user": RABBITMQ,
        "secrets": list(SECRETS),
        "configs": [{"source": CONFIGURATION, "target": "/etc/rabbitmq/conf.d/20-eventmesh.conf"}],
        "environment": {
            "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_ENABLED_PLUGINS_FILE": "/dev/null",
            "ERL_EPMD_ADDRESS": _LOOPBACK,
            # Without the first, messages that come due while it starts may be three minutes late.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-rabbit dead_letter_worker_publisher_confirm_timeout 10000 "
                f"-kernel inet_dist_use_interface {{{_LOOPBACK.replace('.', ',')}}}"
            ),
        },
        "volumes": [f"{RABBITMQ}:/var/lib/rabbitmq"],
        "healthcheck": {
            "test": ["CMD", "rabbitmq-diagnostics", "-q", "check_port_connectivity"],
            "interval": "10s",
            "timeout": "30s",  # It starts an Erlang of its own.
            "start_period": "60s",
        },
        "stop_grace_period": "60s",
    }
