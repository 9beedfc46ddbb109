"""From production traffic to metrics."""
