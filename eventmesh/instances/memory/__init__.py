"""Limits the memory of instances, by what the machine has for it, and tells how much they used."""
