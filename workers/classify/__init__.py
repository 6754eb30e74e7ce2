"""The task of a pool process: decode pictures, classify them, commit the outcomes."""
