"""The task that a pool process runs: decode, compute, commit."""
