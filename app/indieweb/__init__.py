"""The person's own website: finding its endpoints, signing in with it, posting to it."""
