"""Tables of results as CSV, JSON Lines or Parquet."""
