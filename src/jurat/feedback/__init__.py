"""From human judgement to preference data."""
