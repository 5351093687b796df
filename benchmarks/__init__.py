"""Speed, memory and quality, each one command: `python -m benchmarks.bench_...`; tables on screen, JSON in results/."""
