"""Tiles -> predictions: model bundles and the sessions that run them."""
