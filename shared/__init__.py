"""The code that web and workers share: settings, errors, jobs and their records in Redis."""
