"""What `access` and `callers` may say."""

import pytest

from eventmesh import DeclarationError, Service
from eventmesh.model.access.policy import EVERYONE_IN_THE_MESH, CallPolicy, read_policy


def test_nobody_is_refused_by_default():
    assert read_policy("mesh", (), "shop.pay") == EVERYONE_IN_THE_MESH
    assert not EVERYONE_IN_THE_MESH.refuses
    assert not CallPolicy("public").refuses


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("orders.*", "orders.place", True),
        ("orders.*", "orders2.place", False),
        ("orders.place", "orders.placed", False),
        ("*.report", "orders.report", True),
        ("token:ci", "token:ci", True),
        ("token:ci", "token:ci2", False),
        ("jwt:*", "jwt:ada", True),
        ("orders.*", "token:orders.x", False),
        ("o.ders", "orders", False),
    ],
)
def test_patterns(pattern, name, fits):
    assert CallPolicy("mesh", (pattern,)).lists(name) is fits


@pytest.mark.parametrize(
    ("access", "callers", "advice"),
    [
        ("open", [], "choose 'public', 'mesh' or 'private'"),
        (None, [], "choose"),
        ("mesh", "orders.*", r"write \['orders.\*'\]"),
        ("mesh", ["orders"], "write functions, such as"),
        ("mesh", ["*"], "write functions, such as"),
        ("mesh", [7], "write functions, such as"),
        ("private", ["billing.*"], "keeps out"),
        ("private", ["token:ci"], "keeps out"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_declared(access, callers, advice):
    with pytest.raises(DeclarationError, match=f"shop.pay: .*{advice}"):

        @Service("shop").function(access=access, callers=callers)
        def pay() -> None: ...


def test_a_private_function_may_list_some_of_its_own_service():
    assert read_policy("private", ["shop.*"], "shop.pay").callers == ("shop.*",)
