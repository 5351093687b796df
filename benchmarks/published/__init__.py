"""Tables that papers publish, one module a data set, printed by `benchmarks.bench_published_tables`."""
