"""Compares what services need with what a broker has."""
