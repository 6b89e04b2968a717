"""Measurements as ratios: Holdfast beside others, in one run, on one core, against one backend."""
