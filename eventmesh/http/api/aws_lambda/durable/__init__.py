"""Executions of durable functions in the form of AWS Lambda's API."""
