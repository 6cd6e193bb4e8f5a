"""A website written by others: IndieAuth and Micropub of django-indieweb, in its own process.

Storing and showing posts is ours; it says nothing about how real websites do that.
"""
