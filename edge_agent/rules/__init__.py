"""Predictions and place -> findings. Pure."""
