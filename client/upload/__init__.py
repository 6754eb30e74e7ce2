"""A folder of any size, sent in parts and resumed."""
