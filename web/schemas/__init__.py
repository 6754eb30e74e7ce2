"""Requests and answers: these classes validate them, and the OpenAPI document comes from them."""
