"""Turns parts of jobs into predictions. Knows nothing of HTTP."""
