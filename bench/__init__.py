"""How fast the bridge is, and how it fares where the program people use today fails.

`python -m bench` prints figures, `python -m bench.peer` the comparison. Not part of the package.
"""
