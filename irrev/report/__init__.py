"""Result Datasets -> one self-contained page."""
