"""Measurements, side by side where that can be: each is run as `python -m bench.NAME`."""
