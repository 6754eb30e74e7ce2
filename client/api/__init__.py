"""The service's calls, as Python functions."""
