"""What web and workers agree on: settings, words and records. No Flask, no torch."""
