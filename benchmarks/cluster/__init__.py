"""What eventmesh and its peers lose when nodes of a cluster die: `make faultspeers`."""
