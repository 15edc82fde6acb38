"""How the project writes its values: slotted dataclasses that nobody changes.

A value is made once and then only read: it can be compared and, where its fields can, be hashed;
`dataclasses.replace` makes a changed copy. A field that may be secret, or megabytes long, is a
`field(repr=False)`, because values end up in logs.

Type checkers refuse an assignment to a field. At run time nothing does, because `frozen=True`
makes each field cost a call to `object.__setattr__`: three values are made for every invocation,
and a frozen one costs four times as much as a slotted one (docs/adr/0002).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=False, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make `cls` a slotted dataclass that type checkers treat as frozen."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
