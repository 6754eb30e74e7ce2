"""Programs that classify a folder into a Parquet table, as `image-classifier upload` does."""
