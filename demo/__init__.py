"""The main job from end to end, every part as a process of its own: `python -m demo`."""
