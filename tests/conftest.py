"""Makes the folder above `tests` importable, so that every test can use `tests.support`."""
