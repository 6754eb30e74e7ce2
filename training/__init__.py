"""Trains the demonstration model. No worker imports this package."""
