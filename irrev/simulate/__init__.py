"""Systems whose entropy production is known."""
