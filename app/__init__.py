"""OwnYourTrakt: every film and episode you watch becomes a post on your own website."""

__version__ = "0.1.0"
