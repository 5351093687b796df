"""The `holdfast` command line: thin commands over the packages."""
