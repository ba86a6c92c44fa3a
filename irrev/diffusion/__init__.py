"""Diffusion models: entropy, information and cost along the noise axis."""

METHOD_VERSION = 1  # of the stored results; here, so that planning need not import torch
