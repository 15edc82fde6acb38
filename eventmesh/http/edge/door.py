"""What the settings say about strangers, ready for use."""

from __future__ import annotations

from eventmesh.http.edge.hosts import HostCheck, build_host_check
from eventmesh.http.edge.proxies import TrustedProxies, build_trusted_proxies
from eventmesh.http.edge.traces import TraceReader, build_trace_reader
from eventmesh.model.access.addresses import is_loopback
from eventmesh.model.settings import Settings
from eventmesh.model.value import value


@value
class Edge:
    """Built once for a server. None stands for what is not asked for, and costs nothing then.

    `response_headers` are the lines that each response gets.
    """

    check_host: HostCheck | None
    proxies: TrustedProxies | None
    traces: TraceReader
    response_headers: bytes


def build_edge(settings: Settings) -> Edge:
    """Build the edge of a server with these settings."""
    return Edge(
        build_host_check(settings),
        build_trusted_proxies(settings),
        build_trace_reader(settings),
        _response_headers(settings),
    )


def _response_headers(settings: Settings) -> bytes:
    """The lines of each response: by which a browser comes back by TLS only (RFC 6797).

    Not at a local name, at which people run other servers, too.
    """
    seconds = int(settings.http_hsts)
    if not settings.http_tls_certificate or not seconds or is_loopback(settings.http_host):
        return b""
    return b"Strict-Transport-Security: max-age=%d\r\n" % seconds
