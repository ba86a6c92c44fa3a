"""Files -> Datasets with the names of `irrev.schema`."""
