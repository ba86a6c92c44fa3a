"""One Prefect task per step: a wrapper around one call of the library or the store."""
