"""The measuring side: it understands, asks, scores, decides and shows."""
