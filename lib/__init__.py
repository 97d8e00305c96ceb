"""The plumbing that the chapters share; every module does one job and imports no chapter."""
