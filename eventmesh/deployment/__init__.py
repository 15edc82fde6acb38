"""How services run on a cluster: one model, computed from their code, and the files that follow.

`plan.py` makes a `Deployment` (`model.py`) of targets, and of the little that code cannot say
(`config.py`, the table `[deploy]` of an `eventmesh.toml`). Each export is a view of it: what two of
them say in common they take from there.
"""
