"""Writes systemd units: services on several machines without an engine.

A machine joins the mesh by having its URL and the service's secret. The hardening options are those
of https://www.freedesktop.org/software/systemd/man/systemd.exec.html that leave Python its sockets.
"""

from __future__ import annotations

from typing import Final

from eventmesh.deployment.model import Deployment, ServiceDeployment
from eventmesh.deployment.platforms import Systemd
from eventmesh.model.errors import SettingsError

_CREDENTIALS: Final = "%d"
"""The folder of a unit's credentials, in which only its user can read (systemd.unit(5))."""

_HARDENING: Final = """\
DynamicUser=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077
"""


def build_units(deployment: Deployment, systemd: Systemd) -> dict[str, str]:
    """Return the units of a deployment by the names of their files: one a service.

    `NAME@.service` is a template: `NAME@1` and `NAME@2` are two tasks on one machine. Raises
    SettingsError where the deployment has no RabbitMQ of yours.
    """
    if deployment.broker.own:
        raise SettingsError(
            "units join a mesh that is there: say where its RabbitMQ is, "
            "--set broker=amqps://mq.example/shop"
        )
    return {
        f"{deployment.name}-{each.name}@.service": _unit(deployment, each, systemd)
        for each in deployment.running
    }


def _unit(deployment: Deployment, service: ServiceDeployment, systemd: Systemd) -> str:
    task = service.task
    folder = f"{systemd.folder}/{deployment.name}"
    environment = {
        **deployment.environment(task, "\0"),
        # Tasks of one machine do not share ports; both are on its loopback.
        "EVENTMESH_HTTP_PORT": "0",
        "EVENTMESH_ADMIN_PORT": "0",
    }
    if service.public:
        environment |= {"EVENTMESH_ALLOWED_HOSTS": ",".join(service.hosts)} if service.hosts else {}
        environment["EVENTMESH_HTTP_PORT"] = str(task.port("http"))
    lines = [f"Environment={_quote(f'{name}={text}')}" for name, text in environment.items()]
    secrets = [f"LoadCredential={each.name}:{systemd.secrets}/{each.name}" for each in task.secrets]
    command = " ".join(_quote(word) for word in task.command)
    text = "\n".join(
        [
            "# Written by `eventmesh export systemd`; edit it freely.",
            "[Unit]",
            f"Description={task.name} of the mesh {deployment.name}, task %i",
            "Wants=network-online.target",
            "After=network-online.target",
            "",
            "[Service]",
            f"WorkingDirectory={folder}",
            f"ExecStart={folder}/venv/bin/eventmesh {command}",
            "ExecReload=kill -HUP $MAINPID",
            "KillMode=mixed",
            f"TimeoutStopSec={task.stop_timeout}",
            "Restart=always",
            "RestartSec=2",
            *lines,
            *secrets,
            f"CPUQuota={task.cpus * 100:g}%",
            f"MemoryMax={task.memory}",
            "TasksMax=512",
            _HARDENING,
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )
    return text.replace("\0", _CREDENTIALS)


def _quote(text: str) -> str:
    """Quote one word of a unit, in which a percent sign begins a specifier."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if any(not character.isprintable() and character != "\0" for character in text):
        raise SettingsError(f"a unit cannot have {text!r}: it has control characters")
    return f'"{escaped}"'
