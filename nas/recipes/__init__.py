"""How to train, as a value: proxy and full recipes."""
