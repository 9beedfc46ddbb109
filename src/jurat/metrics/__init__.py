"""Metrics as SQL files that return sufficient statistics."""
