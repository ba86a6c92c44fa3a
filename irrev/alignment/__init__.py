"""A model's behaviour over time."""
