"""Teaching many agents at once on one warm model."""
