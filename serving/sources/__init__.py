"""Candidate sources as they are when a decision is made: frozen arrays, one module a kind."""
