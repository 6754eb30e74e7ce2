"""Micro-batches, formed from the Celery messages that wait."""
