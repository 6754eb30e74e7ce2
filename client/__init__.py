"""Talks to the service, over HTTP and nothing else."""
