"""How each candidate source is fitted: one module a source."""
