"""A run of a script from its flags to its last line."""
