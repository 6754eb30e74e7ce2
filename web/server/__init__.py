"""The gunicorn worker and how it reads and writes connections."""
