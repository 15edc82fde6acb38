"""A library of a layer."""

NAME = "from the layer"
