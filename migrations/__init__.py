"""The schema, step by step. Revisions import nothing of the app."""
