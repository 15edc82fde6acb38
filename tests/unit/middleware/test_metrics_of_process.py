"""Metrics of a process, which are of no function."""

from prometheus_client import generate_latest

from eventmesh.middleware.metrics import Metrics


def test_a_number_of_the_process_has_no_label(clock):
    metrics = Metrics(clock)
    metrics.gauge("http_connections", "", lambda: 3)
    metrics.gauge("http_connections", "", lambda: 4)
    metrics.gauge("http_slow_clients_total", "", lambda: 5)
    metrics.gauge("waiting", "app.work", lambda: 6)
    shown = generate_latest(metrics.registry).decode()
    assert "\neventmesh_http_connections 7.0\n" in shown
    assert "\neventmesh_http_slow_clients_total 5.0\n" in shown
    assert '\neventmesh_waiting{function="app.work"} 6.0\n' in shown
