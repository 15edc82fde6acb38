"""AWS's API for durable functions: the parts that all who serve it share.

It is served as a part of the HTTP API, and to each instance whose code is one of AWS's SDKs.
"""
