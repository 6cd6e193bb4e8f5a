"""Every requirement of the bridge, as a sentence that is true or false."""
