"""Benchmarks over a fixed set of prompts."""
