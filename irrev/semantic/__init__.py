"""Questions, contexts, answers."""
