"""Every query is a named function here, by subject. Callers open the transactions.

Whoever changes posts or watches holds their site's row (`posts.hold_sites`), so that nobody else
changes those of the same person meanwhile. On PostgreSQL rows are locked in one order, so that
none waits for another in a circle: the scheduler's lease, connections, sites, then posts and
watches, accounts, notices; of connections, of sites and of accounts several by their ids. Who
comes by for many people and already holds what comes later passes over the sites that others hold
(SKIP LOCKED).
"""
