"""How models are made, judged and released. Imports `features` and `serving`."""
