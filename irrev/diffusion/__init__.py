"""Diffusion models: entropy, information and cost along the noise axis."""

# Here, so that planning need not import torch.
METHOD_VERSION = 3  # of the stored results
TRAINING_VERSION = 1  # of the digit model's weights
