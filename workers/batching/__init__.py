"""Forms micro-batches from waiting Celery messages."""
