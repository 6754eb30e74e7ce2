"""Fair scheduling of the bulk lane: each job has one part in a round."""
