"""The list of each client's jobs."""
