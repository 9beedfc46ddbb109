"""From raw crawl to training text."""
