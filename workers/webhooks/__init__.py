"""Delivery of webhooks."""

#: The Celery queue of the worker that delivers webhooks.
QUEUE = "webhooks"
