"""Predictions -> scores and p-values. Pure; higher = more out-of-distribution, always."""
