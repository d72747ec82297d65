"""What the service tells Prometheus: requests, refusals, latency, queue, batches, units."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Monitor"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Monitor:
    """The service's meters, in a registry of their own; no label holds what a user sent."""

    def __init__(self) -> None:
        """Start every meter at zero."""
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "tael_requests",
            "Requests to /v1/predict by HTTP status.",
            ["status"],
            registry=self._registry,
        )
        self.refused = Counter(
            "tael_refused", "Refused requests by reason.", ["reason"], registry=self._registry
        )
        self.replayed = Counter(
            "tael_replayed",
            "Answers replayed for an idempotency key, not charged again.",
            registry=self._registry,
        )
        self.units = Counter("tael_units", "Texts answered and charged.", registry=self._registry)
        self.seconds = Histogram(
            "tael_request_seconds",
            "Seconds from a request's headers to its answer.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.queue = Gauge(
            "tael_queue_texts", "Texts that wait for the engine.", registry=self._registry
        )
        self.batch = Histogram(
            "tael_batch_texts",
            "Texts computed at once.",
            buckets=_TEXTS,
            registry=self._registry,
        )

    def page(self) -> bytes:
        """Return all meters in Prometheus' text format."""
        return generate_latest(self._registry)
