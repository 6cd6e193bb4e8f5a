"""What a browser calls itself, in words that its person knows: ``Firefox on Linux``.

Nothing else of it is kept. Whoever lies about it only misleads themselves.
"""

# Most browsers name others as well, so the first that fits counts.
BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Vivaldi", "Vivaldi"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
SYSTEMS = (
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "a Mac"),
    ("Linux", "Linux"),
)
UNKNOWN = "A browser"


def browser_of(user_agent: str) -> str:
    """Return what a ``User-Agent`` header tells of browser and system."""
    name = next((word for mark, word in BROWSERS if mark in user_agent), UNKNOWN)
    system = next((word for mark, word in SYSTEMS if mark in user_agent), None)
    return f"{name} on {system}" if system else name
