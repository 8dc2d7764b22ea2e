"""What every process of ours needs under an operator's eye: errors, settings files, logs, systemd.

Imports nothing of ours.
"""
