"""A storm of kills and faults around the real bridge, and whether anything was lost or doubled.

``python -m tests.torture`` is the short form, ``--long`` the long one, ``--seed 7`` a replay.

The bridge is a process of its own (`server`) that dies again and again. The simulated Trakt and
websites live in the harness and survive: they are the truth. What happens in each of the
bridge's lives is drawn from the seed and the number of that life (`plans`), never from the time.
"""
