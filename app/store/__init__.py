"""Every query is a named function here, by subject. Callers open the transactions."""
