"""Where the console gets to know a mesh: from one process, or from all of them over a broker."""

from eventmesh.console.sources.mesh import MeshSource, open_mesh_source
from eventmesh.console.sources.process import ProcessSource
from eventmesh.console.sources.source import Source

__all__ = ["MeshSource", "ProcessSource", "Source", "open_mesh_source"]
