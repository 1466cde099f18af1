"""An evaluator as a user would write it, for the hostile corpus."""


class Contains:
    """The simplest kind: an object with `score`."""

    def score(self, output: str, expected: str) -> float:
        """1 when the expected text is in the answer."""
        return 1.0 if expected in output else 0.0
