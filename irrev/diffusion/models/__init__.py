"""Networks -> Denoiser."""
