"""The live path: it moves bytes and reads clocks, and nothing else."""
