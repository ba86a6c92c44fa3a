"""Diffusion models: entropy, information and cost along the noise axis."""
