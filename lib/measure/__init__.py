"""Measures of digits and images, intervals, and pictures."""
