"""Benchmarks, comparative where possible. Run one with `python -m bench.NAME`."""
