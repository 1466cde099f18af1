from shadow.stats.build import build_stats
from shadow.stats.conversations import ConversationRules
from shadow.stats.curves import latency_curves
from shadow.stats.rows import StatsRows

__all__ = ["ConversationRules", "StatsRows", "build_stats", "latency_curves"]
