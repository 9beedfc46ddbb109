"""Model outputs to scores."""
