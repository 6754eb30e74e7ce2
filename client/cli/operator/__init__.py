"""`image-classifier operator`: all jobs, the lanes, the workers and all dead letters."""
