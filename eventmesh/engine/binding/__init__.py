"""The signature is the schema: binds invocations to arguments, and encodes results."""

from eventmesh.engine.binding.batch import BatchBinder, BoundBatch
from eventmesh.engine.binding.http import HttpBinding, HttpField
from eventmesh.engine.binding.markers import Body, Header, Marker, Path, Query
from eventmesh.engine.binding.parameters import REQUIRED, Parameter
from eventmesh.engine.binding.payload import Binder, Payload
from eventmesh.engine.binding.results import Encoder
from eventmesh.engine.binding.signature import Signature, compile_signature
from eventmesh.engine.binding.text_values import Shape

__all__ = [
    "REQUIRED",
    "BatchBinder",
    "Binder",
    "Body",
    "BoundBatch",
    "Encoder",
    "Header",
    "HttpBinding",
    "HttpField",
    "Marker",
    "Parameter",
    "Path",
    "Payload",
    "Query",
    "Shape",
    "Signature",
    "compile_signature",
]
