"""Entropy production from observed trajectories."""
