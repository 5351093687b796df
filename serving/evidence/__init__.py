"""What the figures of a rollout are worth: pure statistics that may be looked at as often as one likes."""
