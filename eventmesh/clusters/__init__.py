"""Clusters: the engines that run services, as `abc.Cluster`: Docker Swarm, Compose, Kubernetes."""
