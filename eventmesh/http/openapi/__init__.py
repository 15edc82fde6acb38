"""The OpenAPI document of routes, and its page."""
