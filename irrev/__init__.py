"""Irreversibility and entropy production in real data."""

__version__ = "0.1.0"
