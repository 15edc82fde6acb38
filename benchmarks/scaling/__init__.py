"""What more replicas would do, computed from recorded figures of one: docs/scaling.md."""
