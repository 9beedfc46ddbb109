"""From a change to its effect."""
