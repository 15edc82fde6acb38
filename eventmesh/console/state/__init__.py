"""What the console knows of a mesh, made of what its source tells."""
