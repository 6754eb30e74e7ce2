"""Webhooks that are due."""
