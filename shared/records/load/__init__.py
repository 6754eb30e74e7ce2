"""How much work is outstanding, how fast it goes, and how long a job still takes."""
