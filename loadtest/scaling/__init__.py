"""Simulations and measurements of how the service scales."""
