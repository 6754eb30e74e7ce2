"""Tasks of a worker beside classifying: recovery, health, metrics, priority."""
