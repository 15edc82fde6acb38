"""How many runs may go on at once, in this process and in the mesh."""
