"""Other ways to serve the same model, which do the same work with the same file."""
