"""A simulated Trakt and a simulated website, for `make demo` and for the tests."""
