from shadow.stats.build import build_stats
from shadow.stats.conversations import ConversationRules
from shadow.stats.curves import latency_curves
from shadow.stats.rolled import traffic_figures
from shadow.stats.rows import RolledRows, StatsRows

__all__ = ["ConversationRules", "RolledRows", "StatsRows", "build_stats", "latency_curves", "traffic_figures"]
