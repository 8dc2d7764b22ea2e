"""Samples on their way to base: what to do (exchange, pure) and how to carry it (link, MQTT)."""
