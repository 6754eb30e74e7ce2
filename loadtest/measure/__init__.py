"""Load generators and measurements of a running service."""
