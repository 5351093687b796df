"""One module a version, each named by its number; none is changed once it was released."""
