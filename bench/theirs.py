"""What was measured of the program that people use today. Quoted; nothing here is run.

One binary with a file as its database, on a machine with 2 cores, against a fake Trakt and fake
sites on loopback with the latencies named.
"""

NAME = "hacdias/ownyourtrakt"
COMMIT = "e38e7c3"
YEAR = 2022
PUBLISHED = (
    f"published figures of commit {COMMIT} ({YEAR}, Go), measured earlier on another machine with "
    "2 cores; not run here"
)

# Speed and memory: MB, seconds, and of the processor milliseconds for a poll (0.10 s for 1,000).
MEMORY_IDLE = 9.4
MEMORY_CROWDED = 17.0
ROUND_IDLE = 101.0
ROUND_NEWS = 202.9
# And 13 presses of a button.
IMPORT = 103.6
CPU_OF_POLL = 0.10

# What it does when something goes wrong.
FIFTH_OF_ERRORS = "278 watches are never posted"
SECOND_OF_FIVE = "the other four are lost for good"
MANY_AT_ONCE = "100 posted, 150 lost for good"
BACKDATED = "lost"
SAME_MINUTE = "a duplicate every round"
SEASON = "9 duplicates every round"
KILLED = "a duplicate post"
CUT = "a duplicate, one more per round"
CREATED_BUT_500 = "a duplicate, one more per round"
NEVER_ANSWERS = "all others wait, up to 10 minutes a post"
RETRY_AFTER = "ignored"
SINGLE_USE = "works once, then never again"
REVOKED = "retried every round, the user is never told"
ODD_SUCCESS = "a failure to it, retried every round"
SIGTERM = "dies at once"
