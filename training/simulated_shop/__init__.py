"""A shop whose truth is known: catalogue, people, the day loop, what happens to people, and what drives them away."""
