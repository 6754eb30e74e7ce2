"""Results as tables: CSV, JSON Lines, Parquet."""
