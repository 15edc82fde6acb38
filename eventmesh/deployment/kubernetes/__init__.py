"""Manifests for Kubernetes: a view of a deployment on a cluster."""
