"""What every route needs of HTTP: authentication, errors, answers, headers."""
