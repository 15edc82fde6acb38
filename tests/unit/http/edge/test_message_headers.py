import pytest

from eventmesh.http.edge.message_headers import accept_message_headers
from eventmesh.model.errors import Problem


def test_a_client_names_its_headers_as_it_likes():
    given = {"tenant": "ü", "x-region": "eu", "team-em-": "1", "ccc": "1", "X-Delay": "1"}
    assert accept_message_headers(given) == given


@pytest.mark.parametrize(
    "name",
    [
        "em-first-failure",
        "EM-Function",
        "em_traceback",
        "em-",
        "cloudEvents:source",
        "cloudevents_source",
        "CC",
        "bcc",
        "x-death",
        "X-First-Death-Queue",
        "x-delivery-count",
        "x-opt-delivery-count",
    ],
)
def test_what_the_mesh_sets_no_client_sets(name):
    with pytest.raises(Problem, match=name) as raised:
        accept_message_headers({"tenant": "a", name: "x"})
    assert raised.value.status == 400


def test_a_trace_does_not_come_by_this_door():
    given = {"TraceParent": "00-1-1-01", "tracestate": "a=1", "baggage": "user=admin", "a": "b"}
    assert accept_message_headers(given) == {"a": "b"}
