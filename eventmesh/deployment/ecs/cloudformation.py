"""The language of CloudFormation templates: names of resources, and functions of values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from eventmesh.model.errors import SettingsError

Resource = dict[str, Any]
"""One resource of a template."""

REGION: Final = {"Ref": "AWS::Region"}

KEPT: Final = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}
"""What stays when its stack goes: attributes of a resource."""

_RENAMED: Final = {"placementStrategy": "PlacementStrategies"}
_NAME_MAPS: Final = ("options",)
"""Members of a request whose keys are no names of members."""


def ref(name: str) -> dict[str, Any]:
    """Return the value of a parameter, or the reference of a resource."""
    return {"Ref": name}


def get_att(name: str, attribute: str) -> dict[str, Any]:
    """Return an attribute of a resource."""
    return {"Fn::GetAtt": [name, attribute]}


def sub(text: str, **values: Any) -> dict[str, Any]:
    """Return a text in which ${NAME} is replaced: by one of `values`, a parameter or a resource."""
    return {"Fn::Sub": [text, values] if values else text}


def when(condition: str, then: Any, otherwise: Any) -> dict[str, Any]:
    """Return one of two values."""
    return {"Fn::If": [condition, then, otherwise]}


def resource(kind: str, properties: Mapping[str, Any], **attributes: Any) -> Resource:
    """Return a resource; `attributes` are those beside its properties, such as Condition."""
    return {"Type": f"AWS::{kind}", **attributes, "Properties": dict(properties)}


def logical_id(name: str) -> str:
    """Return the name of the resources of a service, which has letters and digits alone."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", name))


def check_ids(names: Iterable[str]) -> None:
    """Raise SettingsError for services or secrets whose resources would have one name, or none.

    Names that differ by capitals alone are the same in Cloud Map.
    """
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(logical_id(name).lower(), name)
        if not logical_id(name):
            raise SettingsError(f"{name!r} has no letter and no digit, which a template needs")
        if other != name:
            raise SettingsError(
                f"{other!r} and {name!r} would both be {logical_id(name)!r} in a template: rename "
                "one of them"
            )


def collect(resources: Iterable[tuple[str, Resource]], taken: Iterable[str]) -> dict[str, Resource]:
    """Return resources by their names. Raises SettingsError for one that is `taken`, or twice."""
    found: dict[str, Resource] = {}
    used = set(taken)
    for name, each in resources:
        if name in used:
            raise SettingsError(
                f"two things would be called {name!r} in a template: rename the service of that "
                "name, or the one that it begins with"
            )
        used.add(name)
        found[name] = each
    return found


def properties(request: Any) -> Any:
    """Return the members of an API request as the properties of a resource.

    Those of Amazon ECS are the same, with a capital letter, but for one.
    """
    if isinstance(request, dict):
        members = cast("dict[str, Any]", request)
        return {
            _RENAMED.get(name, name[:1].upper() + name[1:]): (
                each if name in _NAME_MAPS else properties(each)
            )
            for name, each in members.items()
        }
    if isinstance(request, list):
        return [properties(each) for each in cast("Sequence[Any]", request)]
    return request
