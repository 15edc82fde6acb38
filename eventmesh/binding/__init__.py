"""The signature is the schema: how handlers get their arguments, and bytes are made of results."""

from eventmesh.binding.batch import Batch, BatchBinder
from eventmesh.binding.http import HttpField, HttpPlan
from eventmesh.binding.markers import Body, Header, Marker, Path, Query
from eventmesh.binding.parameters import REQUIRED, Parameter
from eventmesh.binding.payload import Binder, Payload
from eventmesh.binding.results import Encoder
from eventmesh.binding.signature import Signature, compile_signature
from eventmesh.binding.texts import Shape

__all__ = [
    "REQUIRED",
    "Batch",
    "BatchBinder",
    "Binder",
    "Body",
    "Encoder",
    "Header",
    "HttpField",
    "HttpPlan",
    "Marker",
    "Parameter",
    "Path",
    "Payload",
    "Query",
    "Shape",
    "Signature",
    "compile_signature",
]
