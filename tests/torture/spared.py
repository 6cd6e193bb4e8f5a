"""What the torture asks the bridge's database before it strikes."""

from tests.torture.books import is_there


def is_second_try_under_way(database: str) -> bool:
    """Tell whether a post is being sent for the second time since its answer was lost."""
    return is_there(database, "SELECT 1 FROM post WHERE state = 'sending' AND is_resent")


def is_second_try(database: str, slug: str) -> bool:
    """Tell whether the post with this slug was sent before and is sent again now."""
    return is_there(database, "SELECT 1 FROM post WHERE slug = ? AND is_resent", slug)
