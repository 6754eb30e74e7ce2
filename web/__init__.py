"""HTTP in, HTTP out. No model, no batching."""
