"""Writes documents as YAML."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml


def dump_yaml(document: Any) -> str:
    """Return a document as YAML, its keys in their order."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def dump_all(documents: Iterable[Any]) -> str:
    """Return several documents as YAML, with '---' between them."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes a value that occurs twice twice: aliases would need invented names."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - yaml's interface
        return True
