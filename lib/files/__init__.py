"""Files: errors, safe reading, writing completely or not at all, weights, records."""
