"""Similar pictures, by their embeddings."""
