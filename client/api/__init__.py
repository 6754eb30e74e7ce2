"""The calls of the service as Python functions."""
