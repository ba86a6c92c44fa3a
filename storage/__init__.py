"""The versioned store: what was read, what was found, and how to repeat it."""
