"""Load, measured against the limit of the machine. Not part of the product."""
