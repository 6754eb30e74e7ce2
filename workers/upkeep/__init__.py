"""What a worker does beside classifying: recovery, health, metrics."""
